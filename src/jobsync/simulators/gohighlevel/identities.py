"""How the simulator reads phones and emails before it stores or compares them (GoHighLevel contract, section 11)."""

from __future__ import annotations

import re

from .answers import refuse
from .switches import Switches

_CALLING_CODES = {"US": "1", "CA": "1", "GB": "44", "AU": "61", "DE": "49"}


def read_phone(raw: str, country: str, switches: Switches) -> str | None:
    """What is stored for a phone as sent; None = nothing. Raises 422 where the switches say so."""
    text = raw.strip()
    digits = re.sub(r"[^0-9]", "", text)
    if not text:
        return None
    if text.startswith("+"):
        if 8 <= len(digits) <= 15 and (not digits.startswith("1") or len(digits) == 11):
            return "+" + digits
        return _invalid(text, switches)
    if re.search(r"[A-Za-z]", text):
        return _invalid(text, switches)
    code = _CALLING_CODES.get(country, "1")
    if code == "1" and len(digits) == 11 and digits.startswith("1"):
        digits = digits[1:]
    if (code == "1" and len(digits) != 10) or not 6 <= len(digits) <= 12:
        return _invalid(text, switches)
    if switches.phone_without_plus == "normalise":
        return "+" + code + digits
    return text if switches.phone_without_plus == "keep" else None


def fold_email(raw: str) -> str:
    """Emails are matched in lower case and without blanks around them."""
    return raw.strip().lower()


def _invalid(text: str, switches: Switches) -> str | None:
    if switches.invalid_phone == "refuse":
        raise refuse(422, ["phone must be a valid phone number"])
    return text if switches.invalid_phone == "keep" else None
