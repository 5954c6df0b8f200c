"""Phones as typed become E.164 or nothing."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsync.servicetitan.phones import Phone, normalise_phone, read_phone


@pytest.mark.parametrize(
    "text",
    [
        "2125550123",
        "(212) 555-0123",
        "212-555-0123",
        "212.555.0123",
        "+1 212 555 0123",
        "+12125550123",
        "1-212-555-0123",
        "12125550123",
        " 212 555 0123 ",
        "(212)555-0123",
        "Tel: 212-555-0123",
        "2 1 2 5 5 5 0 1 2 3",
        "\N{FULLWIDTH DIGIT TWO}125550123",
        "212-555-0123 x45",
        "(212) 555-0123 ext. 45",
        "212-555-0123 (Anna, mobile)",
        "call Anna at 212-555-0123",
    ],
)
def test_the_spellings_of_one_number_are_one_number(text: str) -> None:
    assert normalise_phone(text) == "+12125550123"


@pytest.mark.parametrize("text", ["212-555-0123 x45", "(212) 555-0123 ext. 45", "+1 212 555 0123;ext=45"])
def test_the_extension_is_kept_apart(text: str) -> None:
    assert read_phone(text) == Phone("+12125550123", "45")


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "none",
        "n/a",
        "555-0123",
        "0000000000",
        "1234567890",
        "212-155-0123",
        "1" * 300,
        "+",
        "anna@example.com",
        "12",
        "2125550123456",
    ],
)
def test_what_cannot_be_called_is_nothing(text: str | None) -> None:
    assert normalise_phone(text) is None


def test_a_number_of_another_country_keeps_its_country() -> None:
    assert normalise_phone("+44 20 7946 0123") == "+442079460123"
    assert normalise_phone("020 7946 0123", region="GB") == "+442079460123"
    assert normalise_phone("020 7946 0123") is None


def test_a_plus_without_the_one_is_another_country_not_an_area_code() -> None:
    assert normalise_phone("+2125550123") != "+12125550123"


def test_an_area_code_that_the_library_does_not_know_is_taken() -> None:
    # 999 is not assigned; new codes look just like it until the library is updated.
    assert normalise_phone("999-555-0123") == "+19995550123"
    assert normalise_phone("999-555-0123 x7") == "+19995550123"


@given(
    st.from_regex(r"[2-9][0-9]{2}", fullmatch=True),
    st.from_regex(r"[2-9][0-9]{2}", fullmatch=True),
    st.from_regex(r"[0-9]{4}", fullmatch=True),
    st.sampled_from(["{0}{1}{2}", "({0}) {1}-{2}", "+1 {0} {1} {2}", "1{0}{1}{2}", "{0}.{1}.{2}", "1 ({0}) {1}-{2}"]),
)
def test_the_short_cut_says_what_the_library_says(area: str, exchange: str, line: str, form: str) -> None:
    text = form.format(area, exchange, line)
    number = phonenumbers.parse(text, "US")

    assert normalise_phone(text) == phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def test_the_short_cut_is_not_taken_outside_north_america() -> None:
    assert normalise_phone("2125550123", region="DE") != "+12125550123"
