"""Phone numbers as people typed them into ServiceTitan, made into E.164.

Values have no format promise: bare digits, brackets, `+1`, extensions, several spellings of one number (ServiceTitan
contract, section 6, gotcha 12). The library `phonenumbers` decides; the commonest North American spellings take a short
cut that gives the same answer, because a page of 5,000 contacts would spend a third of a second in the library.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import phonenumbers

# Country code 1 in the library's metadata; all of them are dialled alike from within.
_NORTH_AMERICA = frozenset({"US", "CA", "PR"})
_PLAIN = re.compile(r"\s*(?:\+?1[\s.-]*)?\(?([2-9][0-9]{2})\)?[\s.-]*([2-9][0-9]{2})[\s.-]*([0-9]{4})\s*", re.ASCII)
_SHAPE = re.compile(r"[2-9][0-9]{2}[2-9][0-9]{6}", re.ASCII)


class Phone(NamedTuple):
    """A number in E.164 (`+12125550100`) and its extension, digits only, or None."""

    e164: str
    extension: str | None


@lru_cache(maxsize=65_536)
def read_phone(text: str, region: str = "US") -> Phone | None:
    """Return the number that `text` holds, dialled from `region`, or None where it holds no number that can be called.

    A number is taken if the library calls it valid, or if it has the shape of a North American number: new area codes
    appear before the library knows them.
    """
    if region in _NORTH_AMERICA and (plain := _PLAIN.fullmatch(text)):
        return Phone("+1" + "".join(plain.groups()), None)
    number = _parse(text, region)
    if number is None:
        # A note beside the number ("... (Anna, mobile)") is more than the parser takes; the number in it can be found.
        found = next(iter(phonenumbers.PhoneNumberMatcher(text, region)), None)
        if found is None:
            return None
        number = found.number
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return Phone(e164, number.extension or None)


def _parse(text: str, region: str) -> phonenumbers.PhoneNumber | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_valid_number(number):
        return number
    shaped = number.country_code == 1 and _SHAPE.fullmatch(phonenumbers.national_significant_number(number))
    return number if shaped else None


def normalise_phone(text: str | None, region: str = "US") -> str | None:
    """Return `text` as E.164 without its extension, or None where it holds no number that can be called.

    `region` is the two-letter country that a number without a country code is dialled in. `read_phone` gives the
    extension too.
    """
    if not text:
        return None
    phone = read_phone(text, region)
    return None if phone is None else phone.e164
