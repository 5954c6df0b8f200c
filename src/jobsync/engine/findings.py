"""Findings: what a check found out, in the three words of `jobsync doctor`: ok, warning, problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor. `group` is what --only takes; `why` and `fix` are None where all is well."""

    group: str
    name: str
    state: State
    what: str
    why: str | None = None
    fix: str | None = None


def is_healthy(findings: list[Finding]) -> bool:
    """True without a problem; warnings are no failure."""
    return all(finding.state != "problem" for finding in findings)
