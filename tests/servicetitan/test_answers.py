"""What happens on each answer of ServiceTitan: one test a row of the table in reliability, over real HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from jobsync.errors import (
    AccessDenied,
    CredentialsRejected,
    MalformedAnswer,
    RateLimited,
    RecordMissing,
    RedirectRefused,
    RequestRejected,
    TransientError,
    UpstreamUnavailable,
)
from jobsync.servicetitan.answers import read_retry_after
from jobsync.servicetitan.client import ServiceTitanClient
from jobsync.servicetitan.streams import STREAMS
from tests.servicetitan.conftest import FreePace, MakeClient
from tests.servicetitan.stand_in import StandIn, page_body

pytestmark = pytest.mark.anyio

JOBS = STREAMS["jobs"]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def problem(title: str = "Bad request", **errors: list[str]) -> dict[str, Any]:
    return {"type": "t", "title": title, "status": 400, "traceId": "00-ab12-01", "errors": errors, "data": {}}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_3xx_is_not_followed(titan: StandIn, client: ServiceTitanClient, status: int) -> None:
    titan.answers = [(status, b"", {"Location": f"{titan.url}/elsewhere"})]

    with pytest.raises(RedirectRefused):
        await client.list_page(JOBS)
    assert len(titan.asked) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Maintenance</body></html>",
        b"",
        b"   ",
        b"OK",
        b"{}",
        b"[]",
        b"null",
        b'{"page":1,"hasMore":false}',
        b'{"hasMore":false,"data":null}',
        b'{"hasMore":false,"data":{}}',
        b'{"hasMore":false,"data":[{"id":1},{"id":',
        b'{"hasMore":false,"data":[{"id":1}]',
        b'{"hasMore":false,"data":[{"total":NaN}]}',
        b'{"data":[{"id":1}]}',
        b'{"hasMore":"false","data":[]}',
    ],
)
async def test_2xx_that_is_not_the_promised_json_is_a_failed_page_never_no_records(
    titan: StandIn, client: ServiceTitanClient, body: bytes
) -> None:
    titan.answers = [(200, body)]

    with pytest.raises(MalformedAnswer):
        await client.list_page(JOBS)
    with pytest.raises(MalformedAnswer):
        await client.export_page(JOBS, "token")


@pytest.mark.parametrize("status", [201, 202, 204, 206])
async def test_2xx_other_than_200_is_a_failed_page(titan: StandIn, client: ServiceTitanClient, status: int) -> None:
    titan.answers = [(status, b"" if status == 204 else page_body())]

    with pytest.raises(MalformedAnswer):
        await client.list_page(JOBS)


@pytest.mark.parametrize("status", [400, 409, 422])
async def test_400_names_the_rejected_fields_and_nothing_else(
    titan: StandIn, client: ServiceTitanClient, status: int
) -> None:
    body = problem("canary-title", pageSize=["canary-text"], **{"canary <script>": ["x"]})
    titan.answers = [(status, body)]

    with pytest.raises(RequestRejected) as raised:
        await client.list_page(JOBS)
    assert raised.value.status == status
    assert raised.value.code == "request_rejected"
    assert raised.value.details["fields"] == ["pageSize"]
    assert raised.value.details["trace_id"] == "00-ab12-01"
    assert "pageSize" in raised.value.message
    assert "canary" not in raised.value.message


FROM: dict[str, Any] = {"from": ["bad"]}


@pytest.mark.parametrize("body", [problem(**FROM), problem(), b"<html>", problem(ContinueFrom=["bad"])])
async def test_a_rejected_token_is_told_apart(titan: StandIn, client: ServiceTitanClient, body: Any) -> None:
    titan.answers = [(400, body)]

    with pytest.raises(RequestRejected) as raised:
        await client.export_page(JOBS, "old-token")
    assert raised.value.code == "cursor_rejected"


async def test_a_400_that_names_another_field_or_carried_no_token_is_not_a_rejected_token(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(400, problem(includeRecentChanges=["bad"])), (400, problem(**FROM))]

    for token in ("old-token", None):
        with pytest.raises(RequestRejected) as raised:
            await client.export_page(JOBS, token, NOW)
        assert raised.value.code == "request_rejected"


async def test_401_is_answered_with_one_fresh_token(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(401, b""), (200, page_body({"id": 1}))]

    page = await client.list_page(JOBS)

    assert len(page.records) == 1
    assert [asked.headers["Authorization"] for asked in titan.asked] == ["Bearer token-1", "Bearer token-2"]


async def test_401_again_stops(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(401, b"")]

    with pytest.raises(CredentialsRejected):
        await client.list_page(JOBS)
    assert (len(titan.asked), len(titan.token_asked)) == (2, 2)


async def test_403_denies_access(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(403, b"")]

    with pytest.raises(AccessDenied) as raised:
        await client.list_page(JOBS)
    assert raised.value.code == "access_denied"


@pytest.mark.parametrize(("status", "kind"), [(403, AccessDenied), (404, RecordMissing), (410, RecordMissing)])
async def test_a_refused_feed_is_told_apart(
    titan: StandIn, client: ServiceTitanClient, status: int, kind: type[Exception]
) -> None:
    titan.answers = [(status, b"")]

    with pytest.raises(kind) as raised:
        await client.export_page(JOBS, None)
    assert getattr(raised.value, "code") == "feed_refused"  # noqa: B009 - the type is a parameter


@pytest.mark.parametrize("status", [404, 410])
async def test_404_of_a_list_is_a_setting_not_an_empty_list(
    titan: StandIn, client: ServiceTitanClient, status: int
) -> None:
    titan.answers = [(status, b"")]

    with pytest.raises(RecordMissing) as raised:
        await client.list_page(JOBS)
    assert raised.value.code == "not_found"
    assert "SERVICE_TITAN_TENANT_ID" in (raised.value.hint or "")


@pytest.mark.parametrize("status", [408, 504, 524])
async def test_408_and_gateway_timeouts_ask_for_a_smaller_page(
    titan: StandIn, client: ServiceTitanClient, status: int
) -> None:
    titan.answers = [(status, b"")]

    with pytest.raises(UpstreamUnavailable) as raised:
        await client.list_page(JOBS)
    assert (raised.value.code, raised.value.status) == ("page_timeout", status)


@pytest.mark.parametrize("status", [413, 414])
async def test_413_and_414_ask_for_a_smaller_page_or_window(
    titan: StandIn, client: ServiceTitanClient, status: int
) -> None:
    titan.answers = [(status, b"")]

    with pytest.raises(RequestRejected) as raised:
        await client.list_page(JOBS)
    assert raised.value.code == "page_too_large"


@pytest.mark.parametrize("status", [500, 502, 503, 599])
async def test_5xx_is_transient_html_or_not(titan: StandIn, client: ServiceTitanClient, status: int) -> None:
    titan.answers = [(status, b"<html>canary</html>")]

    with pytest.raises(UpstreamUnavailable) as raised:
        await client.list_page(JOBS)
    assert (raised.value.code, raised.value.status) == ("upstream_unavailable", status)
    assert isinstance(raised.value, TransientError)


@pytest.mark.parametrize("status", [402, 405, 418, 451])
async def test_any_other_4xx_is_terminal(titan: StandIn, client: ServiceTitanClient, status: int) -> None:
    titan.answers = [(status, b"")]

    with pytest.raises(RequestRejected) as raised:
        await client.list_page(JOBS)
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("header", "title", "expected"),
    [
        ("7", "", 7.0),
        ("0", "", 0.0),
        ("2.5", "", 2.5),
        (" 3 ", "", 3.0),
        ("9999999", "", 9999999.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), "", 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), "", 0.0),
        ("soon", "", None),
        ("-5", "", None),
        ("nan", "", None),
        ("inf", "", None),
        ("1e9", "", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", "", None),
        ("9" * 400, "", None),
        ("", "", None),
        ("soon", "Rate limit is exceeded. Try again in 12 seconds.", 12.0),
        (None, "Rate limit is exceeded. Try again in 1 second.", 1.0),
        (None, "Rate limit is exceeded.", None),
        ("4", "Rate limit is exceeded. Try again in 12 seconds.", 4.0),
    ],
)
async def test_429_waits_as_long_as_asked_in_whatever_form(
    titan: StandIn, make_client: MakeClient, header: str | None, title: str, expected: float | None
) -> None:
    recorder = FreePace()
    client = make_client(titan.url, pace=recorder)
    headers = {"Date": format_datetime(NOW, usegmt=True)} | ({} if header is None else {"Retry-After": header})
    titan.answers = [(429, problem(title), headers)]

    with pytest.raises(RateLimited) as raised:
        await client.list_page(JOBS)
    assert raised.value.retry_after == expected
    assert recorder.pauses == [1.0 if expected is None else expected]


async def test_a_retry_date_is_measured_against_our_clock_where_the_answer_has_none() -> None:
    headers = {"Retry-After": format_datetime(NOW + timedelta(seconds=30), usegmt=True)}

    assert read_retry_after(headers, b"", NOW) == 30.0


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": "invalid_client"}, CredentialsRejected),
        (401, b"", CredentialsRejected),
        (403, b"", CredentialsRejected),
        (404, b"<html>", RequestRejected),
        (429, b"", RateLimited),
        (500, b"", UpstreamUnavailable),
        (302, b"", RedirectRefused),
        (204, b"", MalformedAnswer),
        (200, b"<html>", MalformedAnswer),
        (200, {"expires_in": 900}, MalformedAnswer),
        (200, {"access_token": None, "expires_in": 900}, MalformedAnswer),
        (200, {"access_token": "", "expires_in": 900}, MalformedAnswer),
        (200, {"access_token": "two\r\nlines", "expires_in": 900}, MalformedAnswer),
        (200, {"access_token": "token", "expires_in": "soon"}, MalformedAnswer),
        (200, b'{"access_token": "token", "expires_in": NaN}', MalformedAnswer),
        (200, [], MalformedAnswer),
    ],
)
async def test_a_refused_sign_in_is_told_from_a_broken_one(
    titan: StandIn, client: ServiceTitanClient, status: int, body: Any, kind: type[Exception]
) -> None:
    titan.tokens = [(status, body)]

    with pytest.raises(kind):
        await client.list_page(JOBS)
    assert titan.asked == []
    assert len(titan.token_asked) == 1


async def test_a_refused_sign_in_says_the_oauth_word(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.tokens = [(400, {"error": "invalid_client", "error_description": "canary-client-secret"})]

    with pytest.raises(CredentialsRejected) as raised:
        await client.list_page(JOBS)
    assert "invalid_client" in raised.value.message
    assert "canary" not in raised.value.message


@pytest.mark.parametrize("life", [900, 900.0, "900", None])
async def test_a_token_life_may_be_a_number_a_text_or_missing(
    titan: StandIn, client: ServiceTitanClient, life: Any
) -> None:
    titan.tokens = [(200, {"access_token": "token", "expires_in": life, "token_type": "Bearer"})]
    titan.answers = [(200, page_body())]

    await client.list_page(JOBS)
    await client.list_page(JOBS)

    assert len(titan.token_asked) == 1
