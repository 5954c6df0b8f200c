"""The simulation is tested, too: each planted bug is found."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, planted
from tests.simulation.postgres import Home
from tests.simulation.world import World

MOST_SEEDS = 500
# So many of those whose seed is known are looked at every time; all of them in the long run.
QUICK = [mutant for mutant in MUTANTS if mutant.found_by is not None][:6]


def find_first(home: Home, mutant: Mutant, seeds: range) -> int | None:
    """The first of these seeds that finds the bug."""
    for seed in seeds:
        with planted(mutant, home):
            if World(seed, home, **mutant.forced).run():
                return seed
    return None


def test_there_are_at_least_fifteen_planted_bugs() -> None:
    assert len({mutant.name for mutant in MUTANTS}) >= 15


@pytest.mark.parametrize("mutant", QUICK, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(home: Home, mutant: Mutant) -> None:
    assert mutant.found_by is not None
    assert find_first(home, mutant, range(mutant.found_by, mutant.found_by + 1)) is not None


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found_within_500_seeds(home: Home, mutant: Mutant) -> None:
    found = find_first(home, mutant, range(MOST_SEEDS))
    print(f"found by seed {found}: {mutant.name}", flush=True)
    assert found is not None
    # The world that it was found in is whole without the bug.
    assert World(found, home, **mutant.forced).run() == []
