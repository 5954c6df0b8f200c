"""Seeded chance for the dataset: the few draws it needs, on one random.Random, fast enough for a million rows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from .instants import SECOND
from .vocabulary import AREA_CODES

T = TypeVar("T")


class Dice:
    """All chance of one dataset: the same seed and the same calls give the same rows."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.fraction = self._random.random
        self._phones = int(self.fraction() * 8000)

    def below(self, limit: int) -> int:
        """A whole number from 0 up to, not including, limit."""
        return int(self.fraction() * limit)

    def happens(self, share: float) -> bool:
        """True in this share of calls."""
        return self.fraction() < share

    def pick(self, options: Sequence[T]) -> T:
        """One of them, each as likely."""
        return options[int(self.fraction() * len(options))]

    def weighted(self, options: Sequence[tuple[T, float]]) -> T:
        """One of (option, weight) by weight; weights need not add up to 1."""
        left = self.fraction() * sum(weight for _, weight in options)
        for option, weight in options:
            left -= weight
            if left < 0:
                return option
        return options[-1][0]

    def shuffle(self, rows: list) -> None:
        """Puts a list in random order, in place."""
        self._random.shuffle(rows)

    def instant(self, low: int, high: int) -> int:
        """Ticks between two instants. One in 40 has 0 to 4 fractional digits, the rest the 7 that mostly occur."""
        ticks = low + int(self.fraction() * max(1, high - low))
        if self.fraction() < 0.025:
            grain = SECOND // 10 ** self.below(5)
            ticks = max(low, ticks - ticks % grain)
        return ticks

    def phone_digits(self) -> str:
        """Ten digits, NPA-555-01XX; 8,000 different ones before any comes again."""
        self._phones += 1
        turn, area = divmod(self._phones, len(AREA_CODES))
        return f"{AREA_CODES[area]}55501{turn % 100:02d}"
