"""Ways in which one row of a page, or a whole body, is not what the contract promises; each has a name.

ROWS: row bytes -> row bytes. Some of them leave the page unreadable (`nan` is no JSON), most make a page that parses
and one row that does not fit. BODIES: body bytes -> body bytes. None of them keeps state.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from .tables import decode_row, encode_row

LONG_SUMMARY = b"x" * 1_000_000


def _with(**changes: Any) -> Callable[[bytes], bytes]:
    """The row with these fields set; bytes are raw JSON."""
    raw = {name: msgspec.Raw(value) if isinstance(value, bytes) else value for name, value in changes.items()}
    return lambda row: encode_row({**decode_row(row), **raw})


def _without(*names: str) -> Callable[[bytes], bytes]:
    return lambda row: encode_row({name: value for name, value in decode_row(row).items() if name not in names})


def _pascal(row: bytes) -> bytes:
    return encode_row({name[:1].upper() + name[1:]: value for name, value in decode_row(row).items()})


ROWS: dict[str, Callable[[bytes], bytes]] = {
    # not JSON, or JSON that strict readers refuse: the whole page fails
    "nan": _with(total=b"NaN"),
    "infinity": _with(total=b"-Infinity"),
    "bare_word": lambda _: b"undefined",
    "open_string": lambda row: row[:-1] + b',"note":"no end}',
    "raw_control_character": lambda row: row[:-1] + b',"summary":"a\x00b\x01c"}',
    "bad_utf8": lambda row: row[:-1] + b',"summary":"\xff\xfe\xc3("}',
    "leading_zero": _with(total=b"007"),
    "trailing_comma": lambda row: row[:-1] + b",}",
    # JSON, with values that break what stands behind the reader
    "duplicate_keys": lambda row: b'{"id":1,"modifiedOn":"2001-01-01T00:00:00Z",' + row[1:],
    "duplicate_keys_last": lambda row: row[:-1] + b',"summary":"first","summary":"second"}',
    "lone_surrogate": lambda row: row[:-1] + b',"summary":"broken \\ud83d end"}',
    "reversed_surrogates": lambda row: row[:-1] + b',"summary":"\\ude00\\ud83d"}',
    "escaped_nul": lambda row: row[:-1] + b',"summary":"a\\u0000b"}',
    "long_summary": lambda row: row[:-1] + b',"summary":"' + LONG_SUMMARY + b'"}',
    "deep_row": lambda row: row[:-1] + b',"deep":' + b"[" * 600 + b"]" * 600 + b"}",
    "unknown_fields": _with(brandNew={"a": [1, None, {"b": True}]}, Total2=b"1e2"),
    # ids
    "id_2_63": _with(id=b"9223372036854775808"),
    "id_2_64": _with(id=b"18446744073709551616"),
    "id_negative": _with(id=-5),
    "id_zero": _with(id=0),
    "id_null": _with(id=None),
    "id_text": _with(id="12x"),
    "id_empty_text": _with(id=""),
    "id_fraction": _with(id=b"12.5"),
    "id_exponent": _with(id=b"1.5e300"),
    "id_true": _with(id=True),
    "id_array": _with(id=[1]),
    "id_missing": _without("id"),
    "customer_id_text": _with(customerId="none"),
    "customer_id_2_63": _with(customerId=b"9223372036854775808"),
    "unit_object": _with(businessUnitId={"id": 1314}),
    "unit_null": _with(businessUnitId=None),
    # instants
    "modified_missing": _without("modifiedOn"),
    "modified_null": _with(modifiedOn=None),
    "modified_text": _with(modifiedOn="yesterday"),
    "modified_number": _with(modifiedOn=1763650800),
    "modified_day_32": _with(modifiedOn="2025-01-32T00:00:00Z"),
    "modified_year_1": _with(modifiedOn="0001-01-01T00:00:00Z"),
    "modified_year_9999": _with(modifiedOn="9999-12-31T23:59:59.9999999Z"),
    "modified_naive": _with(modifiedOn="2025-03-01T10:00:00"),
    "modified_offset": _with(modifiedOn="2025-03-01T10:00:00.1234567-08:00"),
    "created_empty": _with(createdOn=""),
    # other values
    "total_text": _with(total="12.50"),
    "total_huge": _with(total=b"1e400"),
    "total_long": _with(total=b"123456789012345678901234567890.1234567890123456789"),
    "total_object": _with(total={"amount": 1}),
    "status_null": _with(jobStatus=None),
    "status_number": _with(jobStatus=7),
    "status_unknown": _with(jobStatus="Teleported"),
    "status_missing": _without("jobStatus"),
    "summary_number": _with(summary=42),
    "summary_object": _with(summary={"html": "<p>"}),
    "tags_text": _with(tagTypeIds="1,2"),
    "tags_nested": _with(tagTypeIds=[[1], None, "x"]),
    "active_text": _with(active="yes"),
    "pascal_case": _pascal,
    # no row at all
    "row_null": lambda _: b"null",
    "row_text": lambda _: b'"a job"',
    "row_number": lambda _: b"17",
    "row_array": lambda row: b"[" + row + b"]",
    "row_empty": lambda _: b"{}",
    "row_twice": lambda row: row + b"," + row,
}

BODIES: dict[str, Callable[[bytes], bytes]] = {
    "invalid_json": lambda body: body[: len(body) // 2] + b" oops ",
    "html": lambda _: b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "empty": lambda _: b"",
    "blank": lambda _: b"  \r\n",
    "json_null": lambda _: b"null",
    "json_text": lambda _: b'"ok"',
    "json_array": lambda body: b"[" + body + b"]",
    "rows_only": lambda body: body[body.find(b'"data":') + 7 : -1],
    "no_data": lambda body: re.sub(rb',"data":.*', b"}", body, flags=re.S),
    "data_null": lambda body: re.sub(rb'"data":.*', b'"data":null}', body, flags=re.S),
    "data_object": lambda body: re.sub(rb'"data":.*', b'"data":{}}', body, flags=re.S),
    "data_text": lambda body: re.sub(rb'"data":.*', b'"data":"[]"}', body, flags=re.S),
    "no_has_more": lambda body: re.sub(rb'"hasMore":(true|false),', b"", body, count=1),
    "has_more_null": lambda body: re.sub(rb'"hasMore":(true|false)', b'"hasMore":null', body, count=1),
    "has_more_text": lambda body: re.sub(rb'"hasMore":(true|false)', rb'"hasMore":"\1"', body, count=1),
    "has_more_forever": lambda body: re.sub(rb'"hasMore":(true|false)', b'"hasMore":true', body, count=1),
    "no_continue_from": lambda body: re.sub(rb'"continueFrom":"[^"]*",', b"", body, count=1),
    "continue_from_null": lambda body: re.sub(rb'"continueFrom":"[^"]*"', b'"continueFrom":null', body, count=1),
    "continue_from_empty": lambda body: re.sub(rb'"continueFrom":"[^"]*"', b'"continueFrom":""', body, count=1),
    "two_bodies": lambda body: body + body,
    "byte_order_mark": lambda body: b"\xef\xbb\xbf" + body,
    "utf16": lambda body: body.decode().encode("utf-16"),
    "deep": lambda _: b'{"hasMore":false,"continueFrom":"x","data":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "error_object": lambda _: b'{"error":{"code":500,"message":"try later"}}',
}
