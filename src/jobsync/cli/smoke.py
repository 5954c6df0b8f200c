"""smoke: one invented job end to end, removed afterwards; nothing reaches the real GoHighLevel unless a unit is named."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from jobsync.cli.output import print_json, print_lines
from jobsync.cli.shared import ACTOR, AsJson, Yes, run, settings_of, tenant_of
from jobsync.config import Settings
from jobsync.engine.opening import open_engine
from jobsync.engine.send_test import send_test
from jobsync.engine.smoke import SmokeReport, Step, run_smoke
from jobsync.errors import ConfirmationNeeded


def smoke(
    context: typer.Context,
    unit: Annotated[
        int | None, typer.Option(help="Then send one marked test job to this unit's real hook, as send-test does.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """One invented job end to end through this database, to a stand-in on this machine, and away again. Exit 3 if a step fails."""
    settings, tenant = settings_of(context, LOG_LEVEL=context.obj.log_level or "ERROR"), tenant_of(context)
    if unit is not None and not yes and not (sys.stdin.isatty() and typer.confirm(_QUESTION.format(unit), err=True)):
        raise ConfirmationNeeded("A test job would go to the real hook of a unit.", hint="Add --yes.")
    show = (lambda step: None) if as_json else _show
    report, sent = run(_run(settings, tenant, unit, show))
    if as_json:
        print_json(
            {"ok": report.ok, "steps": [asdict(step) for step in report.steps], "removed": report.removed, "sent": sent}
        )
    else:
        print_lines(_describe(report, sent))
    if not report.ok or (sent is not None and sent["result"] in ("failed", "test_only")):
        raise typer.Exit(3)


_QUESTION = "Send one marked test job to the real hook of unit {}"


async def _run(
    settings: Settings, tenant: str, unit: int | None, show: Any
) -> tuple[SmokeReport, dict[str, Any] | None]:
    from jobsync.simulators import gohighlevel

    level = gohighlevel.GoHighLevelSimulator(seed=1)
    gohighlevel.furnish(level)
    async with open_engine(settings, initialise=False) as engine:
        async with await gohighlevel.serve(level) as serving:
            hook = serving.url + level.hook_path(level.add_hook(mode="live"))

            def received(job: int) -> int:
                return level.ledger.posts_by_job.get(str(job), 0)

            report = await run_smoke(engine, hook, received, tell=show)
        sent = await send_test(engine, tenant, unit, actor=ACTOR, wait=15.0) if unit is not None and report.ok else None
    return report, sent


def _show(step: Step) -> None:
    print_lines([f"  {'✓' if step.ok else '✗'} {step.name:<10} {step.what:<74} {step.seconds:6.1f} s"])


def _describe(report: SmokeReport, sent: dict[str, Any] | None) -> list[str]:
    if not report.ok:
        return ["It does not work yet: the step above says why.   Next: jobsync doctor"]
    if sent is None:
        return [
            "Everything works from page to hook. Nothing left this machine: the hook was a stand-in.   Next: jobsync status"
        ]
    return [f"To the real hook of unit {sent['unit']}: {sent['result']}: {sent['why']}", f"Next: {sent['next']}"]
