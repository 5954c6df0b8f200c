"""Nothing in the checkout tells of one machine or lets a secret out.

Why: an address of a package registry or a path of one machine breaks the build elsewhere and tells where it was
written; a secret that was committed once is public for good. The words looked for are put together here, so that this
file passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.house.tree import SourceFile, Violation

_HOSTS = (
    ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"),
    ("rubygems", "org"), ("crates", "io"), ("golang", "org"), ("artifact" + "ory", ""), ("jfrog", "io"),
)  # fmt: skip
_REGISTRY = re.compile(
    r"(?i)\b(?:" + "|".join(rf"{name}\.{end}" if end else name for name, end in _HOSTS) + r")\b"
    r"|https?://[^\s\"'<>]*/" + "simple" + r"(?:/|\b)|(?<!no-emit-)\bextra-index" + "-url"
)
_MACHINE_PATH = re.compile(r"(?<![\w.$}])/(?:(?:wo" + r"rk|ro" + r"ot|farm)/|(?:ho" + r"me|Users)/[A-Za-z][\w.-]*/)")
_WORKPLACE = re.compile(r"\.\./shar" + r"ed\b|\bshared/(?:design|contracts)\b")
_SECRETS = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE " + "KEY-----",
    "a cloud access key": r"\bAKIA[0-9A-Z]{16}\b",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36}\b",
    "a Slack token": r"\bxox[abprs]-[A-Za-z0-9-]{20,}",
    "a Slack hook": r"hooks\.slack\.com/services/T[A-Z0-9]{8,}/",
    "a Stripe key": r"\b[sr]k_live_[A-Za-z0-9]{16,}",
    "a GoHighLevel token": r"\bpit-(?!0{8})[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-(?!0{12})[0-9a-f]{12}\b",
    "a ServiceTitan app key": r"\bak1\.(?!test|demo|example|invented)[a-z0-9]{20,}",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
}
_SECRET_PATTERNS = {what: re.compile(pattern) for what, pattern in _SECRETS.items()}
_EMAIL = re.compile(r"(?<![\w/:])[A-Za-z0-9._%+-]+@((?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,})\b")
_INVENTED = re.compile(r"(?i)(?:^|\.)(?:example(?:\.(?:com|org|net))?|test|invalid|localhost)$")
_CODE = {".py", ".sql", ".json", ".csv", ".html", ".md", ".yaml", ".yml", ".toml", ".js", ".jsonl"}


def check_no_registry(file: SourceFile) -> Iterator[Violation]:
    """The address of a package registry."""
    yield from _find(file, _REGISTRY, "names a package registry")


def check_no_machine_path(file: SourceFile) -> Iterator[Violation]:
    """An absolute path of somebody's machine, or of the workplace that the project was written in."""
    yield from _find(file, _MACHINE_PATH, "names a path of one machine")
    yield from _find(file, _WORKPLACE, "names a folder outside of the project")


def check_no_secret(file: SourceFile) -> Iterator[Violation]:
    """What looks like a real key or token. Invented ones in tests are all zeros or say that they are invented."""
    for what, pattern in _SECRET_PATTERNS.items():
        yield from _find(file, pattern, f"looks like {what}", show=False)


def check_invented_people(file: SourceFile) -> Iterator[Violation]:
    """Email addresses at domains that could be somebody's: invented people live at example.com or under .test."""
    if file.suffix not in _CODE or file.path.startswith("requirements/"):
        return
    for found in _EMAIL.finditer(file.text):
        if not _INVENTED.search(found[1]):
            yield Violation(file.path, _line(file, found), "an email address outside of example.com and .test")


def _find(file: SourceFile, pattern: re.Pattern[str], what: str, *, show: bool = True) -> Iterator[Violation]:
    for found in pattern.finditer(file.text):
        yield Violation(file.path, _line(file, found), f"{what}: {found[0]}" if show else what)


def _line(file: SourceFile, found: re.Match[str]) -> int:
    return file.text.count("\n", 0, found.start()) + 1
