"""No job lost, none sent twice, whatever breaks where: seeds of a simulated world (see docs/proof.md).

SEEDS=1000 make test ARGS=tests/simulation   so many seeds
SEED=4711 .venv/bin/pytest -q -s tests/simulation -k this_one_world   this one alone, with its trace
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.simulation.postgres import Home
from tests.simulation.regressions import KEPT
from tests.simulation.world import World

BATCH = 8
SEEDS = int(os.environ.get("SEEDS", "0"))
ONE = os.environ.get("SEED")
BY_API = {"by_api": True, "two_tenants": False}
# Somebody backfills the history, compares and mends meanwhile.
CARE = {"care": True}


def live_through(home: Home, seed: int, **forced: Any) -> World:
    """Runs one seed; a broken promise fails the test with what to type to see it again."""
    world = World(seed, home, **forced)
    findings = world.run()
    kind = "BY_API=1 " if forced == BY_API else "CARE=1 " if forced == CARE else ""
    again = f"{kind}SEED={seed} .venv/bin/pytest -q -s tests/simulation -k this_one_world"
    assert not findings, "\n".join((again, *findings))
    return world


def batches(first: int, count: int) -> list[range]:
    """Seeds in groups, so that test workers share them."""
    return [range(start, min(start + BATCH, first + count)) for start in range(first, first + count, BATCH)]


def every_kind(first: int, plain: int, others: int) -> list[Any]:
    """Seeds in groups of each kind of world: so many plain ones, so many of each other kind."""
    return [
        pytest.param(forced, seeds, id=f"{name} {seeds.start}-{seeds.stop - 1}")
        for name, forced, count in (
            ("plain", {}, plain),
            ("by API", BY_API, others),
            ("beside backfills", CARE, others),
        )
        for seeds in batches(first, count)
    ]


@pytest.mark.parametrize(("forced", "seeds"), every_kind(0, SEEDS or 4, SEEDS or 4))
@pytest.mark.timeout(600)
def test_every_promise_holds_in_each_simulated_world(home: Home, forced: dict[str, Any], seeds: range) -> None:
    for seed in seeds:
        live_through(home, seed, **forced)


@pytest.mark.long
@pytest.mark.skipif(SEEDS > 0, reason="SEEDS says how many")
@pytest.mark.parametrize(("forced", "seeds"), every_kind(4, 996, 196))
def test_every_promise_holds_in_a_thousand_simulated_worlds(home: Home, forced: dict[str, Any], seeds: range) -> None:
    for seed in seeds:
        live_through(home, seed, **forced)


@pytest.mark.parametrize("seed", KEPT, ids=str)
def test_a_seed_that_was_red_once_stays_green(home: Home, seed: int) -> None:
    live_through(home, seed)


@pytest.mark.skipif(ONE is None, reason="SEED=n shows one world")
def test_this_one_world(home: Home) -> None:
    world = World(int(ONE or 0), home, **(BY_API if "BY_API" in os.environ else CARE if "CARE" in os.environ else {}))
    findings = world.run()
    print("\n".join(world.events))
    assert not findings, "\n".join(findings)


def test_one_seed_is_one_run(home: Home) -> None:
    # Of most seeds: where two wait for one lock, PostgreSQL says who is next, and not always the same (seeds 3 and 9).
    traces = set()
    for _ in range(2):
        world = World(4, home, crash_rate=0.01, stall_rate=0.002, database_loss=0.005, jobs=8)
        world.run()
        traces.add(world.trace)
        assert world.crashes > 0
        assert world.points > 500
    assert len(traces) == 1


# Each boundary of a small world kills once: nothing that can be interrupted is left out.
SMALL: dict[str, Any] = {"jobs": 3, "customers": 2, "workers": 1, "crash_rate": 0.0, "stall_rate": 0.0, "database_loss": 0.0, "people_acts": 2,
         "operator_acts": 0, "trouble_seconds": 200.0, "two_tenants": False, "feed_rows": 2, "poison": False}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 400, 20))
def test_a_crash_at_each_single_boundary_loses_nothing(home: Home, first: int) -> None:
    for boundary in range(first, first + 20):
        live_through(home, 5, crash_at=boundary + 1, **SMALL)


def test_a_crash_at_one_boundary_in_fifty_loses_nothing(home: Home) -> None:
    for boundary in range(7, 300, 60):
        world = live_through(home, 5, crash_at=boundary, **SMALL)
        assert world.crashes == 1
