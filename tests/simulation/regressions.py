"""Seeds that were red once, with what they found. Each is run every time."""

from __future__ import annotations

KEPT: dict[int, str] = {
    44: "the checker took the begin of a transaction in which a worker slept for the time of its claim",
    118: "an update that waited when its unit was switched off counted as delivered",
    158: "a worker that died while it looked parents up made the next one wait ten minutes for them",
    160: "the same",
    286: "the checker took a claim and a booking of the same instant in the wrong order",
    292: "a feed that was interrupted among young rows went on behind them, past one that became visible late",
    392: "what changed after its worker died was another version, and the caps did not count it",
    585: "an answer came after its lease, the worker after it gave the job back unsent, and it was sent again",
    639: "the checker did not know that an answer after its lease settles a job that nobody is sending",
    669: "a step that was broken off while it waited for a lock left its transaction open",
    701: "what was tried before its unit was switched off was another version afterwards, and the late answer to the first counted for nothing",
    980: "a row that was claimed anew while a late answer waited for it was booked for who had it before",
}
