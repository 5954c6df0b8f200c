"""`jobsync pull --rewind STREAM --to TIME`: says first, moves only on a person's word, and leaves a line in the audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.upstreams import Stage, open_stage

pytestmark = pytest.mark.anyio

TO = "2025-06-01T08:00:00Z"


def place(stage: Stage, stream: str = "jobs") -> dict[str, object]:
    return stage.rows("select token, since, revision from jobsync.cursors where stream = %s", stream)[0]


@pytest.mark.parametrize("lists_only", [False, True], ids=["feeds", "lists"])
async def test_a_rewind_says_what_it_would_do_moves_with_yes_and_reads_again_without_sending_again(
    dsn: str, tmp_path: Path, lists_only: bool
) -> None:
    async with open_stage(dsn, tmp_path, jobs=30, lists_only=lists_only) as stage:
        await stage.route_all()
        await stage.sync()
        before = place(stage)
        lost = stage.job_ids()[0]
        stage.run("delete from jobs where st_job_id = %s", lost)
        words = ("pull", "--rewind", "jobs", "--to", "2020-01-01")
        shown = await stage.jobsync(*words, "--dry-run")
        assert shown.code == 0
        assert f"jobs was read up to {before['since']}; it would be read again from 2020-01-01T00:00:00" in shown.out
        assert "29 stored records were modified since then" in shown.out
        refused = await stage.jobsync(*words)
        assert (refused.code, place(stage)) == (9, before)
        assert stage.value("select count(*) from jobsync.audit where action = 'cursor_rewound'") == 0
        moved = await stage.jobsync(*words, "--yes", "--json")
        assert (moved.code, moved.json["moved"]) == (0, True)
        after = place(stage)
        assert (after["token"], after["since"]) == (None, "2020-01-01T00:00:00.000000Z")
        (line,) = stage.rows("select actor, subject, details from jobsync.audit where action = 'cursor_rewound'")
        assert (line["actor"], line["subject"], line["details"]["from"]) == ("cli", "stream:jobs", before["since"])
        report = await stage.sync(deliver=False)
        assert (report["pulled"], report["stored"], report["unchanged"]) == (30, 1, 29)
        assert stage.value("select count(*) from jobs") == 30
        assert stage.value("select count(*) from jobsync.outbox where st_job_id <> %s", lost) == 0
        assert place(stage)["since"] == before["since"] or str(place(stage)["since"]) >= str(before["since"])


async def test_a_rewind_that_makes_no_sense_is_refused_in_one_sentence(dsn: str, tmp_path: Path) -> None:
    async with open_stage(dsn, tmp_path, jobs=10) as stage:
        await stage.sync(deliver=False)
        before = stage.rows("select stream, token, since, revision from jobsync.cursors order by stream")
        for words, code, sentence in (
            (("--rewind", "jobs", "--to", "banana"), 2, "banana is no time"),
            (("--rewind", "jobs", "--to", "2200-01-01"), 2, "a rewind only goes back"),
            (("--rewind", "robots", "--to", TO), 4, "no stream that was read is called robots"),
            (("--rewind", "job_types", "--to", TO), 2, "it is read whole each time"),
            (("--rewind", "jobs"), 2, "--rewind STREAM --to TIME"),
            (("--to", TO), 2, "--rewind STREAM --to TIME"),
        ):
            ran = await stage.jobsync("pull", *words, "--yes")
            assert (ran.code, sentence in ran.err) == (code, True), (words, ran)
        assert stage.rows("select stream, token, since, revision from jobsync.cursors order by stream") == before
