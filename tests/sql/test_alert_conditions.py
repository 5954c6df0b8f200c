"""Every alert that the documentation lists: its fault raises it, with why and what to do, and mending the fault ends it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sql.story import INSTALL, POOL, SALES, Story, job

ROOT = Path(__file__).parents[2]
HOUR = "interval '1 hour'"
WEDNESDAY = "timestamptz '2026-03-04 18:00Z'"
CURSOR = "insert into jobsync.cursors (tenant_id, stream, failures, last_error, caught_up_at) values ('default', 'jobs', {}, {}, jobsync.now())"
FACTS = "insert into jobsync.upstream_facts (tenant_id, upstream, daily_limit, daily_remaining, quota_at, clock_ahead_s) values ('default', {})"


@dataclass(frozen=True)
class Fault:
    """A statement (or story) that makes a fault, one that mends it, and what the alert then says."""

    make: str | Callable[[Story], object]
    mend: str
    says: str
    severity: str = "critical"
    items: int = 1


def run_failed(story: Story) -> None:
    story.owner(
        "insert into sync_logs (sync_type, status, error_message, started_at) values ('job_pull', 'failed', 'old', jobsync.now() - interval '61 minutes'), "
        "('job_pull', 'failed', 'node Get Jobs failed', jobsync.now()), ('own', 'failed', null, jobsync.now()), ('own', 'completed', null, jobsync.now())"
    )


def job_unmapped(story: Story) -> None:
    story.page(job(1, businessUnitId=INSTALL))


def accepted_and_not_there(story: Story) -> None:
    hook = story.hook(SALES)
    story.page(job(1))
    story.owner(
        "insert into jobsync.verifications (tenant_id, st_job_id, destination_id, version, accepted_at, result) "
        "values ('default', 1, %s, 1, jobsync.now() - interval '2 hours', 'missing')",
        hook,
    )


def booked_nothing(story: Story) -> None:
    story.owner(f"update jobsync.clock set shift = {WEDNESDAY} - pg_catalog.now()")
    story.page(job(1))
    story.owner(CURSOR.format(0, "null"))
    story.owner("update jobs set created_at = jobsync.now() - interval '25 hours'")


def destination_paused(story: Story) -> None:
    story.hook(SALES)
    story.owner(
        "update jobsync.destinations set paused_at = jobsync.now(), pause_reason = 'It answered test request received.'"
    )


def stage_gone(story: Story) -> None:
    story.hook(SALES)
    story.owner("update jobsync.routes set problem = 'stage \"Quoted\" is gone' where st_business_unit_id = 1314")


def old_flow_silent(story: Story) -> None:
    story.hook(SALES)
    story.live()
    story.owner(
        "insert into jobsync.shadow_units (tenant_id, business_unit_id, compared_at, counts) values ('default', 1314, jobsync.now(), '{}')"
    )
    story.owner("update jobsync.routes set updated_at = jobsync.now() - interval '8 days'")
    story.owner("update jobsync.tenants set mode_set_at = jobsync.now() - interval '8 days'")


FAULTS: dict[str, Fault] = {
    "failed_syncs": Fault(run_failed, f"update sync_logs set started_at = started_at - {HOUR}", "node Get Jobs failed", "warning"),
    "unmapped_unit": Fault(job_unmapped, "delete from jobs", "units set 54670601", "warning"),
    "destination_paused": Fault(destination_paused, "update jobsync.destinations set paused_at = null", "test request received"),
    "unverified": Fault(accepted_and_not_there, "delete from jobsync.verifications", "may be a draft"),
    "lag": Fault(CURSOR.format(0, "null").replace("jobsync.now()", "jobsync.now() - interval '16 minutes'"),
                 "update jobsync.cursors set caught_up_at = jobsync.now()", "is a worker running"),
    "auth_failing": Fault(CURSOR.format(3, "'ServiceTitan refused a fresh access token for the feed of jobs (401).'"), "update jobsync.cursors set failures = 0", "3 times in a row", items=3),
    "schema_drift": Fault(CURSOR.format(3, "'40 of 50 records of a page of jobs do not fit'"), "update jobsync.cursors set failures = 0", "40 of 50", items=3),
    "stream_failing": Fault(CURSOR.format(4, "'ServiceTitan answered 500.'"), "update jobsync.cursors set failures = 2", "answered 500", items=4),
    "quarantine": Fault("insert into jobsync.quarantine (tenant_id, stream, record_id, reason, raw, raw_hash) values ('default', 'jobs', '5', 'createdOn is no time', '', 'x')",
                        "update jobsync.quarantine set resolved_at = jobsync.now()", "createdOn is no time", "warning"),
    "reconcile_missing": Fault("insert into sync_logs (sync_type, status, metadata) values ('reconcile', 'completed', '{\"days\": 7, \"missing\": 2, \"differing\": 1, \"fixed\": 0}')",
                               "insert into sync_logs (sync_type, status, started_at, metadata) values ('reconcile', 'completed', jobsync.now() + interval '1 minute', '{\"days\": 7}')",
                               "2 records were missing here and 1 differed", items=3),
    "upstream_refused": Fault("select jobsync.set_upstream_state('default', 'servicetitan', 'auth_failed', 'ServiceTitan refused to sign in (401).')",
                              "select jobsync.set_upstream_state('default', 'servicetitan', 'ok', null)", "refuses to sign JobSync in"),
    "quota": Fault(FACTS.format("'gohighlevel', 200000, 0, jobsync.now(), 0"), "update jobsync.upstream_facts set daily_remaining = 199999", "used up"),
    "clock_skew": Fault(FACTS.format("'servicetitan', null, null, null, -61"), "update jobsync.upstream_facts set clock_ahead_s = 59", "61 s behind ServiceTitan", "warning"),
    "cap_reached": Fault("update jobsync.tenants set mode_reason = 'cap_hour'", "update jobsync.tenants set mode_reason = null", "the cap of the hour"),
    "silence": Fault(booked_nothing, "update jobs set created_at = jobsync.now()", "No new job for 25 hours", "warning"),
    "card_route": Fault(stage_gone, "update jobsync.routes set problem = null", 'stage "Quoted" is gone'),
    "card_renamed": Fault("select jobsync.write_audit('default', 'jobsync', 'stage_renamed', 'p1', '{\"before\": \"Old\", \"name\": \"New\"}')",
                          "delete from jobsync.audit", 'Stage "Old" is now called "New"', "warning"),
    "sent_by_both": Fault("insert into jobsync.shadow_units (tenant_id, business_unit_id, compared_at, counts) values ('default', 1314, jobsync.now(), '{\"sent_by_both\": 4}')",
                          "update jobsync.shadow_units set counts = '{}'", "4 jobs of unit 1314", items=4),
    "double_cards": Fault("insert into jobsync.double_cards (tenant_id, opportunity_id, together, why, keep, found_at) values ('default', 'o1', 'x', 'same job', false, jobsync.now())",
                          "delete from jobsync.double_cards", "more than once", "warning"),
    "old_flow_can_go": Fault(old_flow_silent, "update jobsync.routes set updated_at = jobsync.now()", "can be deleted", "warning"),
    "channel_down": Fault("insert into jobsync.alert_channels (tenant_id, channel, failures) values ('default', 'slack:1', 3)",
                          "select jobsync.report_channel('default', 'slack:1', true)", "do not get through to slack", "warning", items=3),
}  # fmt: skip
# Told by other tests: grouped by cause below, and what only the program can see.
ELSEWHERE = {"dead_letters", "disk_low"}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_an_alert_with_why_and_fix_until_it_is_mended(story: Story, code: str) -> None:
    fault = FAULTS[code]
    story.connection.execute("grant update on jobsync.clock to current_user")
    asked = "select * from jobsync.v_alert_conditions where code = %s and subject <> 'own'"
    assert story.rows(asked, code) == []
    story.owner(fault.make) if isinstance(fault.make, str) else fault.make(story)
    (found,) = story.rows(asked, code)
    assert (found["severity"], found["items"]) == (fault.severity, fault.items)
    assert fault.says in " ".join((found["title"], found["why"], found["fix"]))
    assert found["why"] and found["fix"]
    story.owner(fault.mend)
    assert story.rows(asked, code) == []


def test_runs_that_failed_are_told_by_their_type_and_only_those_of_the_last_hour(story: Story) -> None:
    run_failed(story)
    found = story.rows(
        "select subject, items, why from jobsync.v_alert_conditions where code = 'failed_syncs' order by 1"
    )
    assert [(one["subject"], one["items"]) for one in found] == [("job_pull", 1), ("own", 1)]
    assert found[1]["why"] == "No reason was written."


def test_dead_letters_are_one_alert_a_cause_and_unit_and_end_when_they_are_replayed(story: Story) -> None:
    story.hook(SALES, POOL)
    story.live()
    story.parents(*range(1, 6))
    story.page(*(job(number) for number in range(1, 5)), job(5, businessUnitId=POOL))
    assert len(story.claim()) == 5
    story.finish("rejected", only=[1, 2, 5], status=422)
    story.finish("test_only", only=[3])
    asked = (
        "select subject, items, title, why, fix from jobsync.v_alert_conditions where code = 'dead_letters' order by 1"
    )
    found = {one["subject"]: one for one in story.rows(asked)}
    assert {subject: one["items"] for subject, one in found.items()} == {
        f"rejected:{SALES}": 2,
        f"rejected:{POOL}": 1,
        f"test_only:{SALES}": 1,
    }
    assert "not published" in found[f"test_only:{SALES}"]["why"]
    assert found[f"rejected:{SALES}"]["fix"] == "jobsync why 1"
    story.rows("select jobsync.replay_jobs('default', '{1,2,3,5}', false, 'a test')")
    assert story.rows(asked) == []


def test_a_quiet_weekend_is_no_silence(story: Story) -> None:
    story.connection.execute("grant update on jobsync.clock to current_user")
    booked_nothing(story)
    story.pass_time("3 days 2 hours")
    assert story.rows("select * from jobsync.v_alert_conditions where code = 'silence'") == []
    story.pass_time("1 day")
    assert len(story.rows("select * from jobsync.v_alert_conditions where code = 'silence'")) == 0, "Sunday"
    story.pass_time("1 day")
    assert len(story.rows("select * from jobsync.v_alert_conditions where code = 'silence'")) == 1, "Monday"


def test_every_alert_that_is_listed_can_happen_and_every_one_that_happens_is_listed() -> None:
    listed = set(re.findall(r"`([a-z_]+)`", "".join(
        line.split("|")[1] for line in (ROOT / "docs/alerts.md").read_text().splitlines() if line.startswith("| `")
    )))  # fmt: skip
    raised = set(re.findall(r"tenant_id, '([a-z_]+)'(?: as code)?,", view_text())) - {"card_"}
    raised |= {"auth_failing", "schema_drift", "stream_failing", "disk_low"}
    assert raised <= {*FAULTS, *ELSEWHERE}
    # Of the cards one of three kinds is made here; they differ in a word.
    assert listed - {"card_rule", "card_install"} == {*FAULTS, *ELSEWHERE}


def view_text() -> str:
    text = (ROOT / "src/jobsync/sql/schema/86_alerts.sql").read_text()
    return text[
        text.index("create view jobsync.v_alert_conditions") : text.index("comment on view jobsync.v_alert_conditions")
    ]
