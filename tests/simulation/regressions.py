"""Seeds that were red once, with what they found. Each is run every time."""

from __future__ import annotations

KEPT: dict[int, str] = {
    44: "the checker took the begin of a transaction in which a worker slept for the time of its claim",
    158: "a worker that died while it looked parents up made the next one wait ten minutes for them",
    160: "the same",
    292: "a feed that was interrupted among young rows went on behind them, past one that became visible late",
    392: "what changed after its worker died was another version, and the caps did not count it",
    585: "an answer came after its lease, the worker after it gave the job back unsent, and it was sent again",
}
