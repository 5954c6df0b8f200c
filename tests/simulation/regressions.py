"""Seeds that were red once, with what they found. Each is run every time."""

from __future__ import annotations

KEPT: dict[int, str] = {}
