"""A page is the bytes that came: a broken body is never an empty page, one bad record never spoils its page (F12)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jobsync.errors import MalformedAnswer
from jobsync.servicetitan.pages import LoopGuard, Page, RowReader, parse_page, split_refused
from jobsync.servicetitan.refusals import (
    CONTROL_CHARACTER,
    HALF_SURROGATE,
    NOT_UTF8,
    NUL_CHARACTER,
    NUMBER_TOO_LARGE,
    TOO_DEEP,
    why_refused,
)

GOOD = b'{"id":1,"summary":"all well"}'


def body_of(*records: bytes, has_more: bytes = b"false", extra: bytes = b"") -> bytes:
    return (
        b'{"page":1,"hasMore":' + has_more + b',"totalCount":null,"data":[' + b",".join(records) + b"]" + extra + b"}"
    )


def read(*records: bytes) -> Page:
    return parse_page(body_of(*records), "list")


def test_records_come_out_byte_for_byte() -> None:
    odd = b'{ "id" : 1.0000000000000000000, "a": "\\u00e9\\/", "b":\t[1 , 2],"b":null }'
    page = read(odd, b"5", b"null")

    assert page.array() == b"[" + odd + b",5,null]"
    assert [bytes(record) for record in page.records] == [odd, b"5", b"null"]


def test_the_array_is_whole_in_a_pretty_printed_body_with_a_byte_order_mark() -> None:
    body = b'\xef\xbb\xbf{\r\n  "data": [\r\n    {"id": 1},\r\n    {"id": 2}\r\n  ],\r\n  "hasMore": true\r\n}\r\n'
    page = parse_page(body, "list")

    assert msgspec.json.decode(page.array()) == [{"id": 1}, {"id": 2}]
    assert split_refused(page) == (list(page.records), [])


def test_unknown_members_of_the_envelope_are_ignored() -> None:
    assert len(parse_page(body_of(GOOD, extra=b',"data2":{"data":[1,2]}'), "list").records) == 1


def test_kept_records_are_joined_again() -> None:
    page = read(b"1", b"2", b"3")

    assert page.keep([0, 2]).array() == b"[1,3]"
    assert page.keep([0, 1, 2]) is page
    assert page.keep([]).array() == b"[]"
    assert page.fingerprint() != page.keep([0, 2]).fingerprint()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        b"<!DOCTYPE html><html></html>",
        b"Service Unavailable",
        b"null",
        b"true",
        b"[]",
        b'"data"',
        b"{}",
        b'{"hasMore":false}',
        b'{"hasMore":false,"data":null}',
        b'{"hasMore":false,"data":{"id":1}}',
        b'{"hasMore":false,"data":"[]"}',
        b'{"data":[]}',
        b'{"hasMore":null,"data":[]}',
        b'{"hasMore":1,"data":[]}',
        b'{"hasMore":"true","data":[]}',
        b'{"hasMore":false,"data":[],"totalCount":"many"}',
        body_of(b'{"a":NaN}'),
        body_of(b'{"a":Infinity}'),
        body_of(b'{"a":01}'),
        body_of(b'{"a":1.}'),
        body_of(b'{"a":+1}'),
        body_of(b'{"a":.5}'),
        body_of(b"{'a':1}"),
        body_of(b"{a:1}"),
        body_of(b'{"a":1,}'),
        body_of(GOOD, b""),
        body_of(b'{"a":"\\q"}'),
        body_of(b'{"a":"\\u12"}'),
        body_of(b'{"a" 1}'),
        body_of(b'{"a":1 "b":2}'),
        body_of(b'{"a":tru}'),
        body_of(b"/* none */"),
        body_of(GOOD)[:-1],
        body_of(GOOD)[:-2],
        body_of(GOOD)[:-10],
        body_of(GOOD) + b"x",
        body_of(GOOD) * 2,
        body_of(b"[" * 5_000),
        body_of(b"[" * 5_000 + b"]" * 4_999),
        body_of(b'{"a":NaN,"b":"\\ud800"}'),
        b'{"hasMore":false,"data":[{"id":1' + b"\x00" * 50,
        b"\x1f\x8b\x08\x00 still packed",
        b"\xff\xfe{\x00}\x00",
        b'{"error":{"code":"ServiceUnavailable"}}',
    ],
    ids=lambda body: body[:40].decode("latin-1").encode("unicode_escape").decode(),
)
def test_a_body_that_is_not_the_promised_json_is_malformed(body: bytes) -> None:
    for kind in ("list", "export"):
        with pytest.raises(MalformedAnswer) as raised:
            parse_page(body, kind)
        assert raised.value.code == "malformed_answer"
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None


# Each was handed to PostgreSQL (15 and 18) as jsonb and refused there.
REFUSED: list[tuple[bytes, str]] = [
    (b'{"a":"\\u0000"}', NUL_CHARACTER),
    (b'{"\\u0000":1}', NUL_CHARACTER),
    (b'{"a":"\\\\\\u0000"}', NUL_CHARACTER),
    (b'{"a":"\x00"}', CONTROL_CHARACTER),
    (b'{"a":"\x01"}', CONTROL_CHARACTER),
    (b'{"a":"line\nline"}', CONTROL_CHARACTER),
    (b'{"a":"\ttab"}', CONTROL_CHARACTER),
    (b'{"a":"\\ud800"}', HALF_SURROGATE),
    (b'{"a":"\\udc00"}', HALF_SURROGATE),
    (b'{"a":"\\uDFFF and more text"}', HALF_SURROGATE),
    (b'{"a":"\\ud800\\ud800"}', HALF_SURROGATE),
    (b'{"a":"\\udc00\\ud800"}', HALF_SURROGATE),
    (b'{"a":"\\ud83d\\ude00\\ude00"}', HALF_SURROGATE),
    (b'{"a":"\\ud800\\u0041 long enough"}', HALF_SURROGATE),
    (b'{"\\ud800 as a key":1}', HALF_SURROGATE),
    (b'{"a":"\xff"}', NOT_UTF8),
    (b'{"a":"\xc3"}', NOT_UTF8),
    (b'{"a":"\xc0\x80"}', NOT_UTF8),
    (b'{"a":"\xed\xa0\x80"}', NOT_UTF8),
    (b'{"a":"\xf4\x90\x80\x80"}', NOT_UTF8),
    (b'{"\xff":1}', NOT_UTF8),
    (b'{"a":1e131072}', NUMBER_TOO_LARGE),
    (b'{"a":-1E+131072}', NUMBER_TOO_LARGE),
    (b'{"a":1e-16384}', NUMBER_TOO_LARGE),
    (b'{"a":0e-20000}', NUMBER_TOO_LARGE),
    (b'{"a":1.5e-16383}', NUMBER_TOO_LARGE),
    (b'{"a":1e99999999999}', NUMBER_TOO_LARGE),
    (b'{"a":0e99999999999}', NUMBER_TOO_LARGE),
    (b'{"a":100e131070}', NUMBER_TOO_LARGE),
    (b'{"a":' + b"9" * 131_073 + b"}", NUMBER_TOO_LARGE),
    (b'{"a":0.' + b"1" * 16_384 + b"}", NUMBER_TOO_LARGE),
    (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", TOO_DEEP),
    (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, TOO_DEEP),
]

# Each was handed to PostgreSQL likewise and taken.
TAKEN: list[bytes] = [
    b'{"a":"\\\\u0000"}',
    b'{"a":"\\\\ud800"}',
    b'{"a":"\\ud83d\\ude00"}',
    b'{"a":"\\uD83D\\uDE00 \\ud83d\\ude00"}',
    '{"a":"é 漢字 😀"}'.encode(),
    b'{"a":"\x7f"}',
    b'{"a":"\xef\xbf\xbe"}',
    b'{"a":1e131071}',
    b'{"a":1e-16383}',
    b'{"a":1e0999}',
    b'{"a":0e999999}',
    b'{"a":0.001e131074}',
    b'{"a":' + b"9" * 131_072 + b"}",
    b'{"a":0.' + b"1" * 16_383 + b"}",
    b'{"a":"1e999999 is text","b":"' + b"7" * 200_000 + b'"}',
    b'{"id":9223372036854775808,"total":1.0000000000000000000}',
    b'{"a":1,"a":2}',
    b'{"":{}}',
    b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"a":"' + b"x" * 1_000_000 + b'"}',
    b'{\n\t"a" : 1\r\n}',
    b"[]",
    b"null",
    b'"text"',
    b"17",
]


def test_the_corpus_has_at_least_sixty_bodies_and_records() -> None:
    marks = test_a_body_that_is_not_the_promised_json_is_malformed.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert len(marks) + len(REFUSED) + len(TAKEN) >= 100


def named(record: Any) -> str:
    return repr(record[:36]) if isinstance(record, bytes) else ""


@pytest.mark.parametrize(("record", "reason"), REFUSED, ids=named)
def test_a_record_that_postgresql_would_refuse_is_set_apart_and_its_page_goes_on(record: bytes, reason: str) -> None:
    page = read(GOOD, record, b'{"id":2,"summary":"line\\nline"}')

    good, refused = split_refused(page)

    assert [bytes(one) for one in good] == [GOOD, b'{"id":2,"summary":"line\\nline"}']
    assert [(bytes(one), why) for one, why in refused] == [(record, reason)]
    assert len(page.records) == 3


@pytest.mark.parametrize("record", TAKEN, ids=named)
def test_a_record_that_postgresql_takes_is_never_refused(record: bytes) -> None:
    assert why_refused(record) is None
    for page in (read(GOOD, record), read(b'{"a":"\\u0000"}', record), read(record, b'{"a":"\\ud800"}')):
        good, _ = split_refused(page)
        assert record in [bytes(one) for one in good]


def test_several_kinds_of_bad_records_in_one_page_are_each_set_apart() -> None:
    bad = [record for record, _ in REFUSED]
    page = parse_page(body_of(GOOD, *bad, GOOD, has_more=b"true"), "list")

    good, refused = split_refused(page)

    assert [bytes(one) for one in good] == [GOOD, GOOD]
    assert [(bytes(one), why) for one, why in refused] == REFUSED
    assert page.has_more


def test_a_salvaged_page_keeps_its_envelope() -> None:
    body = b'{"hasMore":true,"continueFrom":"tok\\u0065n","data":[ {"a":"\\ud800"} , {"id":2} ]}'
    page = parse_page(body, "export")

    assert (page.has_more, page.continue_from) == (True, "token")
    assert [bytes(one) for one in page.records] == [b'{"a":"\\ud800"}', b'{"id":2}']


@pytest.mark.parametrize("record", [REFUSED[0][0], REFUSED[3][0], REFUSED[7][0], REFUSED[15][0], REFUSED[21][0]])
def test_one_bad_record_in_five_thousand_costs_little(record: bytes) -> None:
    healthy = (
        b'{"id":%d,"summary":"<p>Replace the pump &amp; test</p>","total":338.0300000000,"name":"' + b"x" * 600 + b'"}'
    )
    records = [healthy % number for number in range(4_999)]
    body = body_of(*records, record)

    good, refused = split_refused(parse_page(body, "list"))
    assert (len(good), len(refused)) == (4_999, 1)
    # Beside a plain decode of every record, in the same process; the best of three, for a collector may run in one of them.
    ours = min(seconds_of(lambda: split_refused(parse_page(body, "list"))) for _ in range(3))
    plain = min(seconds_of(lambda: [json.loads(one) for one in records]) for _ in range(3))
    assert ours < 3 * plain


def seconds_of(act: Callable[[], object]) -> float:
    """CPU seconds that this process spends on it."""
    started = time.process_time()
    act()
    return time.process_time() - started


def test_no_reason_repeats_any_of_the_record() -> None:
    for record, reason in REFUSED:
        assert record[5:12].decode("latin-1") not in reason


def test_rows_are_known_by_key_and_ticks() -> None:
    page = read(
        b'{"id":7,"customerId":9,"modifiedOn":"0001-01-01T00:00:00.0000007Z"}',
        b'{"modifiedOn":null,"id":8,"customerId":"9"}',
    )
    rows = RowReader(("id", "customerId")).read(page)

    assert rows == [((7, 9), 7), ((8, "9"), None)]


TIMES = (
    "2026-01-31T08:00:00Z",
    "2026-01-31T08:00:00.1Z",
    "2026-01-31T08:00:00.0999999Z",
    "2026-01-31T08:00:00.1000000Z",
    "2026-01-31T09:00:00.12+01:30",
    "2026-02-30T08:00:00Z",
    "9999-99-99T99:99:99Z",
    "2026-01-31",
    "2026-01-31T08:00:01Z,2026-01-31T08:00:09Z",
    "2026-01-31T08:00:00.99999999Z",
    "",
    None,
    5,
)


@given(times=st.lists(st.sampled_from(TIMES), max_size=4))
@example(times=[*TIMES[:3]])
def test_the_newest_of_a_page_is_the_newest_of_its_records(times: list[object]) -> None:
    page = read(*(msgspec.json.encode({"id": 1, "modifiedOn": time}) for time in times))
    reader = RowReader()

    assert reader.newest(page) == max((ticks for _, ticks in reader.read(page) if ticks is not None), default=None)


@pytest.mark.parametrize(
    "record",
    [
        b"5",
        b"null",
        b"{}",
        b'{"id":null}',
        b'{"id":{}}',
        b'{"id":1.5}',
        b'{"id":true}',
        b'{"id":"\xff"}',
        REFUSED[-1][0],
    ],
    ids=named,
)
def test_a_record_without_a_usable_key_is_known_by_its_bytes(record: bytes) -> None:
    rows = RowReader().read(read(record, record, b'{"id":1}'))

    assert rows[0][0] == rows[1][0]
    assert rows[0][0][0] == "unreadable"
    assert rows[2][0] == (1,)


def feed(*records: bytes, token: str | None, more: bool) -> bytes:
    member = b"" if token is None else b',"continueFrom":' + msgspec.json.encode(token)
    return b'{"hasMore":' + (b"true" if more else b"false") + member + b',"data":[' + b",".join(records) + b"]}"


def test_a_feed_that_goes_on_from_the_place_it_came_from_is_a_loop() -> None:
    with pytest.raises(MalformedAnswer) as raised:
        parse_page(feed(GOOD, token="a", more=True), "export", sent_token="a")
    assert raised.value.code == "cursor_loop"

    assert parse_page(feed(token="a", more=False), "export", sent_token="a").continue_from == "a"


@pytest.mark.parametrize("token", [None, ""])
def test_a_feed_without_a_token_is_malformed_only_if_there_is_more(token: str | None) -> None:
    with pytest.raises(MalformedAnswer):
        parse_page(feed(GOOD, token=token, more=True), "export")

    assert parse_page(feed(GOOD, token=token, more=False), "export").continue_from is None


def test_the_guard_stops_a_feed_that_comes_back_to_an_earlier_token() -> None:
    guard = LoopGuard()
    guard.see(parse_page(feed(b"1", token="a", more=True), "export"))
    guard.see(parse_page(feed(b"2", token="b", more=True), "export"))

    with pytest.raises(MalformedAnswer) as raised:
        guard.see(parse_page(feed(b"3", token="a", more=True), "export"))
    assert raised.value.code == "cursor_loop"


def test_the_guard_stops_the_third_equal_page_but_not_the_last_page() -> None:
    guard = LoopGuard()
    guard.see(parse_page(feed(b"1", token="a", more=True), "export"))
    guard.see(parse_page(feed(b"1", token="b", more=True), "export"))
    guard.see(parse_page(feed(b"1", token="b", more=False), "export"))

    with pytest.raises(MalformedAnswer):
        guard.see(parse_page(feed(b"1", token="c", more=True), "export"))
