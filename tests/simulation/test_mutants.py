"""The simulation is tested, too: each planted bug is found."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, planted
from tests.simulation.postgres import Home
from tests.simulation.world import World

MOST_SEEDS = 500
# These are looked for every time; all of them in the long run. No seed is fixed: any change of the engine moves it.
QUICK = [mutant for mutant in MUTANTS if mutant.often]
FEW_SEEDS = 15


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
    assert find_first(home, mutant, range(FEW_SEEDS)) is not None


@pytest.mark.long
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found_within_500_seeds(home: Home, mutant: Mutant) -> None:
    found = find_first(home, mutant, range(MOST_SEEDS))
    print(f"found by seed {found}: {mutant.name}", flush=True)
    assert found is not None
    # The world that it was found in is whole without the bug.
    assert World(found, home, **mutant.forced).run() == []
