"""The event loop of a process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from jobsync.engine.event_loop import run_to_end


@pytest.fixture
def usual_pace() -> Iterator[object]:
    """The collector goes on afterwards as it did before."""
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)


def test_what_lives_as_long_as_a_post_is_not_looked_through_by_the_garbage_collector(usual_pace: object) -> None:
    async def make_and_keep(objects: int) -> int:
        await asyncio.sleep(0)
        looks = [0]

        def count(phase: str, _: dict[str, int]) -> None:
            looks[0] += phase == "start"

        gc.callbacks.append(count)
        try:
            kept = [[number] for number in range(objects)]
        finally:
            gc.callbacks.remove(count)
        assert len(kept) == objects
        return looks[0]

    assert run_to_end(make_and_keep(40_000)) <= 1


def test_what_the_work_raises_is_raised(usual_pace: object) -> None:
    async def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        run_to_end(fail())
