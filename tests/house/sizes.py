"""One duty a file: it says so by its name, and it stays small enough to be read in one go.

Why: a name like `utils` invites what belongs nowhere, and nobody reads 2,000 lines before changing one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.house.tree import SourceFile, Violation

LONGEST = {".py": 600, ".sql": 500}
GENERATED = {"job-sync-schema.sql"}
_NAMELESS = re.compile(r"(^|[_./-])(utils?|helpers?|managers?|misc|common)([_./-]|$)")


def check_size(file: SourceFile) -> Iterator[Violation]:
    """Files over their limit of lines; what is generated does not count."""
    limit = LONGEST.get(file.suffix)
    lines = file.text.count("\n")
    if limit is not None and lines > limit and file.path not in GENERATED and not _is_taken_over(file.path):
        yield Violation(file.path, limit + 1, f"{lines} lines, more than {limit}")


def check_name(file: SourceFile) -> Iterator[Violation]:
    """File and folder names that do not say what is inside."""
    if _is_taken_over(file.path):
        return
    found = _NAMELESS.search(file.path)
    if found:
        yield Violation(file.path, 1, f"the name {found[2]!r} says nothing about the file's duty")


def _is_taken_over(path: str) -> bool:
    return "/vendor/" in path
