"""Which records PostgreSQL's jsonb would refuse, found before they are sent, so that one of them never fails its page.

Valid JSON can still hold what jsonb cannot: a NUL character, half of a surrogate pair, text that is not UTF-8, a number
beyond numeric's range, nesting without end (each tried on PostgreSQL 15 and 18). A page is looked at with a few scans
at the speed of memory; single records are only looked at where a scan has found something. Bytes in, reasons out;
never a part of a record.
"""

from __future__ import annotations

import codecs
import re

import msgspec

NOT_UTF8 = "text that is not valid UTF-8"
NUL_CHARACTER = "a NUL character in a text"
HALF_SURROGATE = "half of a surrogate pair in a text"
CONTROL_CHARACTER = "an unescaped control character in a text"
NUMBER_TOO_LARGE = "a number beyond the range of numeric"
TOO_DEEP = "nesting too deep to store"


class _Identified(msgspec.Struct):
    id: object = None


_RAW = msgspec.json.Decoder(msgspec.Raw)
_IDENTIFIED = msgspec.json.Decoder(_Identified)
_CHUNK = 1 << 20

# numeric holds 131,072 digits before the point and 16,383 after it. A number that breaks this has an exponent of four
# digits or a run of digits longer than the block below; both are looked for, and judged exactly where found.
_NUMERIC_BEFORE, _NUMERIC_AFTER = 131_072, 16_383
_EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]{4}")
_BLOCK = 5_000

_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TEXT_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*"|-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?', re.DOTALL)
# Every escape is matched, so that an escaped backslash before `ud800` is not taken for an escape of its own.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_DIGITS_ALIKE = bytes.maketrans(b"123456789+-E", b"00000000000e")
_CONTROL_TO_SPACE = bytes(32 if code < 32 else code for code in range(256))


def may_be_refused(body: bytes) -> bool:
    """True if some record within `body` (valid JSON) might be refused by jsonb; False means that none is."""
    return b"\\u0000" in body or not is_utf8(body) or _may_have_large_exponent(body) or _has_long_digit_run(body)


def why_refused(record: bytes) -> str | None:
    """Return why jsonb would refuse this record, in words without any of its content, or None if it would take it."""
    if not is_utf8(record):
        return NOT_UTF8
    try:
        _RAW.decode(record)
    except RecursionError:
        return TOO_DEEP
    except msgspec.DecodeError:
        return CONTROL_CHARACTER if is_json(_with_whole_surrogates(record)) is False else HALF_SURROGATE
    if b"\\u0000" in record and _NUL_ESCAPE.search(record):
        return NUL_CHARACTER
    if (_EXPONENT.search(record) or _has_long_digit_run(record)) and _has_number_beyond_numeric(record):
        return NUMBER_TOO_LARGE
    return None


def find_id(record: bytes) -> str | None:
    """Return the id of a record that jsonb refuses, as a text, or None where it has none that can be read."""
    for text in (record, whitewash(record)):
        try:
            found = _IDENTIFIED.decode(text).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        return str(found)[:100] if type(found) in (int, str) else None
    return None


def is_utf8(data: bytes) -> bool:
    """True if `data` is valid UTF-8. Works through it in pieces: a page of 50 MB must not become a text of 200 MB."""
    if data.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for start in range(0, len(data), _CHUNK):
            decoder.decode(view[start : start + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def is_json(data: bytes) -> bool | None:
    """True or False for JSON or not; None where it is nested too deep to tell."""
    try:
        _RAW.decode(data)
    except RecursionError:
        return None
    except msgspec.DecodeError:
        return False
    return True


def whitewash(data: bytes) -> bytes:
    """Return `data`, equally long, with control characters and half surrogates replaced: what then is still not JSON is
    not JSON for another reason than these."""
    return _with_whole_surrogates(data.translate(_CONTROL_TO_SPACE))


def _with_whole_surrogates(data: bytes) -> bytes:
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], data)


def _may_have_large_exponent(body: bytes) -> bool:
    # Digits and signs all as 0: one look for a fixed text is many times faster than an expression tried at each digit.
    return b"0e0000" in body.translate(_DIGITS_ALIKE)


def _has_long_digit_run(data: bytes) -> bool:
    # A run of two blocks' length covers at least one aligned block whole, and isdigit stops at the first other byte.
    if len(data) < 2 * _BLOCK:
        return False
    view = memoryview(data)
    return any(bytes(view[start : start + _BLOCK]).isdigit() for start in range(0, len(data) - _BLOCK + 1, _BLOCK))


def _has_number_beyond_numeric(record: bytes) -> bool:
    return any(
        found[1] is not None and _is_beyond_numeric(found[1], found[2] or b"", found[3] or b"0")
        for found in _TEXT_OR_NUMBER.finditer(record)
    )


def _is_beyond_numeric(whole: bytes, fraction: bytes, exponent: bytes) -> bool:
    if len(exponent) > 8:
        return True
    shift = int(exponent)
    if len(fraction) - shift > _NUMERIC_AFTER:
        return True
    significant = whole.lstrip(b"0")
    if significant:
        return len(significant) + shift > _NUMERIC_BEFORE
    leading = len(fraction) - len(fraction.lstrip(b"0"))
    return leading < len(fraction) and shift - leading > _NUMERIC_BEFORE
