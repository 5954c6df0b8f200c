"""The benchmark of backfill runs, compares like with like, and at full size its bars hold."""

from __future__ import annotations

import json

import pytest
from bench.backfill import main, measure


def test_the_benchmark_stores_the_same_rows_on_both_sides(dsn: str) -> None:
    figures = measure(dsn, jobs=60, size=25)
    assert figures["records"] == 60 + 36 + 42 + 72 + 84
    assert figures["pages"] >= 60 // 25 + 36 // 25 + 42 // 25 + 72 // 25 + 84 // 25
    assert figures["memory_mb"] < 250


@pytest.mark.long
def test_a_hundred_thousand_jobs_are_stored_at_sixty_percent_of_a_plain_loop_in_little_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["ratio"] >= 0.6, figures
    assert figures["memory_mb"] < 250, figures
