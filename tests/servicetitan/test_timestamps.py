"""Timestamps of ServiceTitan are exact to 100 ns, whatever number of digits they come with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsync.servicetitan.timestamps import (
    datetime_ticks,
    format_ticks,
    is_sentinel,
    parse_ticks,
    parse_timestamp,
)


@pytest.mark.parametrize(
    ("text", "ticks"),
    [
        ("0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00.0000001Z", 1),
        # .NET's own count for this moment.
        ("2019-11-14T10:24:07.4726935Z", 637_093_238_474_726_935),
        ("1970-01-01", 621_355_968_000_000_000),
        ("1970-01-01T00:00:00+00:00", 621_355_968_000_000_000),
        ("1970-01-01T02:00:00+02:00", 621_355_968_000_000_000),
        ("1969-12-31T17:00:00-0700", 621_355_968_000_000_000),
        ("1970-01-01T00:00", 621_355_968_000_000_000),
        ("1970-01-01 00:00:00", 621_355_968_000_000_000),
        ("1970-01-01t00:00:00z", 621_355_968_000_000_000),
        ("1970-01-01T00:00:00.12345678999Z", 621_355_968_001_234_567),
        ("9999-12-31T23:59:59.9999999Z", 3_155_378_975_999_999_999),
    ],
)
def test_texts_are_read_to_the_tick(text: str, ticks: int) -> None:
    assert parse_ticks(text) == ticks


def test_zero_to_seven_digits_sort_by_time_though_not_as_texts() -> None:
    texts = [
        "2026-01-01T00:00:42Z",
        "2026-01-01T00:00:42.1Z",
        "2026-01-01T00:00:42.1000001Z",
        "2026-01-01T00:00:42.12Z",
    ]

    assert sorted(texts, key=parse_ticks) == texts
    assert sorted(texts) != texts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00 UTC",
        " 2026-01-01",
        "2026-01-01\n",
        "20260101",
        "٢٠٢٦-01-01",
        "0000-01-01",
        "2026-01-01Z",
    ],
)
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError) as raised:
        parse_ticks(text)
    assert "soon" not in str(raised.value)


@given(st.integers(min_value=0, max_value=3_155_378_975_999_999_999))
def test_ticks_survive_the_way_through_text(ticks: int) -> None:
    text = format_ticks(ticks)

    assert parse_ticks(text) == ticks
    assert parse_ticks(text[:-1].rstrip("0").rstrip(".") + "Z") == ticks


@given(st.datetimes(timezones=st.just(UTC)))
def test_datetimes_and_texts_agree(moment: datetime) -> None:
    assert datetime_ticks(moment) == parse_ticks(moment.isoformat())


def test_a_naive_datetime_is_utc() -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - that is what is tested
    assert datetime_ticks(naive) == parse_ticks("2026-01-01T00:00:00Z")
    assert datetime_ticks(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == parse_ticks("2026-01-01")


def test_ticks_outside_the_calendar_are_brought_back() -> None:
    assert format_ticks(-5) == "0001-01-01T00:00:00.0000000Z"
    assert format_ticks(10**19) == "9999-12-31T23:59:59.9999999Z"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "0001-01-01T08:00:00", None, ""])
def test_the_year_one_means_not_known(text: str | None) -> None:
    assert parse_timestamp(text) is None
    if text:
        assert is_sentinel(parse_ticks(text))


def test_a_timestamp_is_read_as_utc_and_cut_to_microseconds() -> None:
    assert parse_timestamp("2026-01-01T00:00:00.1234569-01:00") == datetime(2026, 1, 1, 1, 0, 0, 123_456, tzinfo=UTC)


def test_a_timestamp_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError):
        parse_timestamp("9999-12-31T23:59:59-01:00")
