"""doctor: what is wrong, why, and what to do, before anything goes wrong."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from jobsync.cli.output import print_json, print_lines, say
from jobsync.cli.shared import AsJson, run, settings_of, tenant_of
from jobsync.engine.doctor import GROUPS, examine
from jobsync.engine.doctor_places import mend
from jobsync.engine.findings import Finding, is_healthy
from jobsync.errors import InvalidInput

SIGNS = {"ok": "✓", "warning": "!", "problem": "✗"}


def doctor(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option(help=f"Only these groups: {', '.join(GROUPS)}.")] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="First do what needs no decision: file rights, migrations.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything that JobSync needs: machine, database, both upstreams with their scopes, routes, worker. Exit 3 on a problem."""
    settings, tenant = settings_of(context), tenant_of(context)
    wanted = _read_groups(only)
    if fix:
        say(*(f"fixed: {done}" for done in run(mend(settings))))
    findings = run(examine(settings, tenant, only=wanted))
    if as_json:
        print_json({"healthy": is_healthy(findings), "findings": [asdict(finding) for finding in findings]})
    else:
        print_lines(describe_findings(findings))
    if not is_healthy(findings):
        raise typer.Exit(3)


def describe_findings(findings: list[Finding]) -> list[str]:
    """The findings in words: one line each, cause and fix below what is not well, the count at the end."""
    lines = []
    width = max((len(finding.name) for finding in findings), default=0)
    group = None
    for finding in findings:
        shown = finding.group if finding.group != group else ""
        group = finding.group
        lines.append(f"{shown:<13} {SIGNS[finding.state]} {finding.name:<{width}}  {finding.what}")
        if finding.why and finding.state != "ok":
            lines.append(f"{'':<16}why: {finding.why}")
        if finding.fix and finding.state != "ok":
            lines.append(f"{'':<16}fix: {finding.fix}")
    count = {state: sum(finding.state == state for finding in findings) for state in SIGNS}
    lines.append(f"{count['ok']} ok · {count['warning']} warnings · {count['problem']} problems")
    return lines


def _read_groups(only: list[str] | None) -> tuple[str, ...]:
    if not only:
        return GROUPS
    wanted = tuple(name.strip() for text in only for name in text.split(",") if name.strip())
    # The short names people say.
    wanted = tuple({"ghl": "gohighlevel", "st": "servicetitan", "db": "database"}.get(name, name) for name in wanted)
    unknown = [name for name in wanted if name not in GROUPS]
    if unknown:
        raise InvalidInput(
            f"--only {unknown[0][:40]} is no group of checks.", hint=f"Choose from: {', '.join(GROUPS)}."
        )
    return wanted
