"""The checkout as the house rules see it: its text files, and what a rule answers."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
NOT_OURS = {".git", ".venv", "node_modules", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".jobsync"}
LARGEST = 2_000_000  # bytes; larger files are data


@dataclass(frozen=True)
class SourceFile:
    """One text file: `path` with slashes, from the top of the checkout."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.path)[1]

    @property
    def room(self) -> str | None:
        """The room of architecture.md, section 3 (`engine`, `errors`, ...); None outside src/jobsync."""
        parts = self.path.split("/")
        if parts[:2] != ["src", "jobsync"] or len(parts) < 3:
            return None
        return parts[2].removesuffix(".py")

    @property
    def is_program(self) -> bool:
        """Python that is shipped, as against tests and benches."""
        return self.suffix == ".py" and self.path.startswith("src/jobsync/")


@dataclass(frozen=True)
class Violation:
    """What a rule found, in words, and where."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


Rule = Callable[[SourceFile], Iterable[Violation]]


@cache
def read_checkout() -> tuple[SourceFile, ...]:
    """Every text file that is in git or could be added to it."""
    return tuple(_read(sorted(_list_paths())))


def _read(paths: Iterable[str]) -> Iterator[SourceFile]:
    for path in paths:
        full = CHECKOUT / path
        if not full.is_file() or full.is_symlink() or full.stat().st_size > LARGEST:
            continue
        content = full.read_bytes()
        if b"\0" in content:
            continue
        yield SourceFile(path, content.decode("utf-8", errors="replace"))


def _list_paths() -> list[str]:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git on this machine
        return _walk()
    return [os.fsdecode(path) for path in listed.split(b"\0") if path]


def _walk() -> list[str]:
    found: list[str] = []
    for folder, folders, names in os.walk(CHECKOUT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.endswith(".egg-info")]
        found += [(Path(folder) / name).relative_to(CHECKOUT).as_posix() for name in names if name != ".env"]
    return found
