"""The event loop of a process, and how often the garbage collector looks at it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")
# Each post makes some hundred objects that are gone with it, without the collector: at its usual 700 it looked for what is not
# there after every few posts, which was an eighth of the CPU of sending. What it still finds waits a little longer for it.
OBJECTS, YOUNG_LOOKS, MIDDLE_LOOKS = 50_000, 20, 20


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine in an event loop of its own and answers what it answers; raises what it raises.

    The collector's pace is set for the whole process, once and for good.
    """
    gc.set_threshold(OBJECTS, YOUNG_LOOKS, MIDDLE_LOOKS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
