"""Every row of "What happens on each answer" for GoHighLevel's API, by name: which error, and what it carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from jobsync.errors import (
    AccessDenied,
    CredentialsRejected,
    DestinationRefused,
    JobSyncError,
    MalformedAnswer,
    RateLimited,
    RecordMissing,
    RedirectRefused,
    RequestRejected,
    TerminalError,
    TransientError,
    UpstreamUnavailable,
)
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.destination_guard import Guard, make_session
from tests.gohighlevel.stand_in import Names, Site, answer, free_port, listen_for_canary, serve, serve_bytes
from tests.gohighlevel.test_client import CONTACT, Recorder, client_of, token

pytestmark = pytest.mark.anyio

Act = Callable[[GoHighLevelClient], Awaitable[object]]
READS: dict[str, Act] = {
    "get_location": lambda client: client.get_location(),
    "list_pipelines": lambda client: client.list_pipelines(),
    "list_custom_fields": lambda client: client.list_custom_fields(),
    "find_contacts": lambda client: client.find_contacts(phone="+15125550123"),
    "find_contacts_by_field": lambda client: client.find_contacts_by_field("f1", "v"),
    "get_contact": lambda client: client.get_contact("C1"),
    "list_notes": lambda client: client.list_notes("C1"),
    "search_opportunities": lambda client: client.search_opportunities("C1"),
    "get_opportunity": lambda client: client.get_opportunity("O1"),
}
WRITES: dict[str, Act] = {
    "create_contact": lambda client: client.create_contact({}),
    "update_contact": lambda client: client.update_contact("C1", {}),
    "add_tags": lambda client: client.add_tags("C1", ["a"]),
    "remove_tags": lambda client: client.remove_tags("C1", ["a"]),
    "create_note": lambda client: client.create_note("C1", "hi", marker="[m]"),
    "create_custom_field": lambda client: client.create_custom_field("n", model="contact"),
    "create_opportunity": lambda client: client.create_opportunity({}),
    "update_opportunity": lambda client: client.update_opportunity("O1", {}),
}
ALL = READS | WRITES


async def failing(site: Site, act: Act, **options) -> JobSyncError:
    async with client_of(site, **options) as client:
        with pytest.raises(JobSyncError) as caught:
            await act(client)
    return caught.value


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520])
async def test_5xx_and_408_are_ambiguous_for_writes_and_plain_for_reads(name, status):
    async with serve(answer("<html>busy</html>", status)) as site:
        error = await failing(site, ALL[name])
    assert isinstance(error, UpstreamUnavailable) and error.status == status
    assert error.ambiguous is (name in WRITES) and len(site.asked) == 1


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("body", ["<html>login</html>", "", "[]", "null", '{"contact": {"id": "C1"', '"text"', "{}x"])
async def test_a_2xx_that_is_no_json_object_is_malformed_or_ambiguous(name, body):
    async with serve(answer(body, 200)) as site:
        error = await failing(site, ALL[name])
    assert isinstance(error, UpstreamUnavailable if name in WRITES else MalformedAnswer)
    assert getattr(error, "ambiguous", False) is (name in WRITES) and error.code == "malformed_answer"


@pytest.mark.parametrize("name", ALL)
async def test_a_2xx_whose_body_breaks_off_is_malformed_or_ambiguous(name):
    async with serve_bytes(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"contact":null}') as site:
        error = await failing(site, ALL[name])
    assert isinstance(error, TransientError) and getattr(error, "ambiguous", False) is (name in WRITES)


@pytest.mark.parametrize("name", ALL)
async def test_3xx_is_never_followed(name):
    async with listen_for_canary() as canary:
        async with serve(answer({}, 307, Location=f"http://127.0.0.1:{canary.port}/")) as site:
            error = await failing(site, ALL[name])
        assert isinstance(error, RedirectRefused) and canary.connections == 0


@pytest.mark.parametrize("name", ALL)
async def test_a_closed_connection_is_ambiguous_for_writes(name):
    async with serve_bytes(b"") as site:
        error = await failing(site, ALL[name])
    assert isinstance(error, UpstreamUnavailable) and error.status is None and error.ambiguous is (name in WRITES)


@pytest.mark.parametrize("name", ["get_contact", "create_opportunity"])
async def test_no_answer_in_time_is_ambiguous_for_writes(name):
    async with serve_bytes(b"", hold=True) as site:
        error = await failing(site, ALL[name], timeout_total=0.1)
    assert isinstance(error, UpstreamUnavailable) and error.ambiguous is (name in WRITES)


@pytest.mark.parametrize("name", ["get_contact", "create_opportunity"])
async def test_a_refused_connection_or_unknown_name_is_never_ambiguous(name):
    error = await failing(Site([], port=await free_port()), ALL[name])
    assert isinstance(error, UpstreamUnavailable) and not error.ambiguous
    recorder = Recorder()
    async with make_session(Guard(["api.test"]), resolver=Names([])) as session:
        client = GoHighLevelClient(
            session, location_id="L", token_source=token, api_url="https://api.test", on_request=recorder.on_request
        )
        with pytest.raises(UpstreamUnavailable) as caught:
            await ALL[name](client)
    assert not caught.value.ambiguous and recorder.requests == [(name, None)]


async def test_an_api_host_that_leads_inside_is_refused():
    async with make_session(Guard(), resolver=Names([("127.0.0.1", 1)])) as session:
        client = GoHighLevelClient(session, location_id="L", token_source=token)
        with pytest.raises(DestinationRefused):
            await client.get_contact("C1")


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("name", ["create_contact", "create_opportunity", "update_contact", "find_contacts"])
async def test_400_and_422_are_final_and_a_write_may_have_been_done(name, status):
    async with serve(answer({"statusCode": status, "message": "Bad Request", "traceId": "t-1"}, status)) as site:
        error = await failing(site, ALL[name])
    assert isinstance(error, RequestRejected) and error.status == status and error.details["trace_id"] == "t-1"
    assert error.details["may_have_written"] is (name in WRITES)


async def test_422_names_the_fields_that_were_sent_and_refused():
    message = [
        "property gender should not exist",
        "email must be an email",
        "customFields.0.id must be a string",
        "Quackenbush should not exist",
    ]
    sent = {"gender": "x", "email": "x", "customFields": [], "name": "Quackenbush"}
    async with serve(answer({"statusCode": 422, "message": message}, 422)) as site:
        error = await failing(site, lambda client: client.create_contact(sent))
    assert error.details["fields"] == ["gender", "email", "customFields.0.id"]
    assert error.message.endswith("(422): gender, email, customFields.0.id.")


async def test_a_duplicate_contact_carries_whose_it_is():
    meta = {"contactId": "Con77", "matchingField": "phone", "contactName": "Ada Example"}
    body = {"statusCode": 400, "message": "This location does not allow duplicated contacts.", "meta": meta}
    async with serve(answer(body, 400)) as site:
        error = await failing(site, WRITES["create_contact"])
    assert isinstance(error, RequestRejected) and error.code == "duplicate_contact"
    assert error.details["contact_id"] == "Con77" and error.details["matching_field"] == "phone"
    assert "Ada" not in f"{error.message} {error.details}"


async def test_a_duplicate_opportunity_carries_which_it_is():
    body = {
        "statusCode": 400, "message": "Can not create duplicate opportunity for the contact.",
        "code": "OPPORTUNITY_NO_DUPLICATE", "meta": {"existingId": "Opp77"}, "error": "Bad Request",
    }  # fmt: skip
    async with serve(answer(body, 400)) as site:
        error = await failing(site, WRITES["create_opportunity"])
    assert isinstance(error, RequestRejected) and error.code == "duplicate_opportunity"
    assert error.details["existing_id"] == "Opp77" and "Allow Multiple" in (error.hint or "")


async def test_a_duplicate_without_an_id_is_still_a_duplicate():
    async with serve(answer({"message": "This location does not allow duplicated contacts."}, 400)) as site:
        error = await failing(site, WRITES["create_contact"])
    assert error.code == "duplicate_contact" and error.details["contact_id"] is None


class Tokens:
    """A token source that hands out its tokens in turn, the last for ever."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)
        self.rejected: list[str | None] = []

    async def __call__(self, rejected: str | None = None) -> str:
        self.rejected.append(rejected)
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]


UNAUTHORIZED = {"statusCode": 401, "message": "Invalid token: access token is invalid", "error": "Unauthorized"}


@pytest.mark.parametrize("name", ["get_contact", "create_contact"])
async def test_401_reloads_the_token_once_and_goes_on(name):
    tokens, recorder = Tokens("old", "new"), Recorder()
    async with serve(answer(UNAUTHORIZED, 401), answer({"contact": CONTACT})) as site:
        async with client_of(site, recorder, token_source=tokens) as client:
            await ALL[name](client)
    assert [asked.headers["Authorization"] for asked in site.asked] == ["Bearer old", "Bearer new"]
    assert tokens.rejected == [None, "old"] and recorder.taken == 2 and recorder.requests == [(name, 401), (name, 200)]


async def test_401_again_with_the_new_token_is_final():
    async with serve(answer(UNAUTHORIZED, 401)) as site:
        error = await failing(site, WRITES["create_contact"], token_source=Tokens("old", "new", "newer"))
    assert isinstance(error, CredentialsRejected) and len(site.asked) == 2


async def test_401_with_no_other_token_is_final_at_once():
    async with serve(answer(UNAUTHORIZED, 401)) as site:
        error = await failing(site, READS["get_contact"], token_source=Tokens("same"))
    assert isinstance(error, CredentialsRejected) and len(site.asked) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "version header was not found."),
        (401, "version header is invalid"),
        (400, 'Invalid API version segment "2020"'),
    ],
)
async def test_a_missing_version_header_is_no_matter_of_the_token(status, message):
    tokens = Tokens("one", "two")
    async with serve(answer({"message": message}, status)) as site:
        error = await failing(site, READS["get_contact"], token_source=tokens)
    assert isinstance(error, RequestRejected) and error.code == "version_refused"
    assert tokens.rejected == [None] and len(site.asked) == 1


@pytest.mark.parametrize(
    "message",
    [
        "The token is not authorized for this scope.",
        "This authClass type is not allowed to access this scope. Please reach out to support.",
        "Token's user type mismatch!",
        "This route is not yet supported by the IAM Service. Please update your IAM config.",
    ],
)
async def test_a_missing_scope_is_denied_access_after_one_reload(message):
    async with serve(answer({"message": message}, 401)) as site:
        error = await failing(site, READS["search_opportunities"], token_source=Tokens("old", "new"))
    assert isinstance(error, AccessDenied) and error.code == "scope_missing" and len(site.asked) == 2


@pytest.mark.parametrize("name", ALL)
async def test_403_is_denied_access(name):
    async with serve(answer({"message": "The token does not have access to this location."}, 403)) as site:
        assert isinstance(await failing(site, ALL[name]), AccessDenied)


@pytest.mark.parametrize("status", [404, 410])
async def test_404_and_410_are_a_missing_record(status):
    async with serve(answer({"message": "Opportunity not found"}, status)) as site:
        error = await failing(site, WRITES["update_opportunity"])
    assert isinstance(error, RecordMissing) and error.code == "not_found"


async def test_404_of_a_route_says_so():
    async with serve(answer({"message": "Cannot GET /contacts/C1"}, 404)) as site:
        error = await failing(site, READS["get_contact"])
    assert isinstance(error, RecordMissing) and error.code == "route_missing"


async def test_400_for_an_id_that_is_not_there_is_a_missing_record_too():
    async with serve(answer({"message": "Contact with id C1 not found"}, 400)) as site:
        assert isinstance(await failing(site, READS["get_contact"]), RecordMissing)
        assert isinstance(await failing(site, WRITES["create_contact"]), RequestRejected)


@pytest.mark.parametrize("status", [413, 414])
async def test_413_and_414_are_too_large(status):
    async with serve(answer("", status)) as site:
        error = await failing(site, WRITES["create_note"])
    assert isinstance(error, RequestRejected) and error.code == "too_large"


@pytest.mark.parametrize("status", [402, 405, 409, 415, 418, 451])
async def test_any_other_4xx_is_final(status):
    async with serve(answer({"message": "no"}, status)) as site:
        error = await failing(site, WRITES["create_contact"])
    assert isinstance(error, TerminalError) and getattr(error, "status", None) == status


@pytest.mark.parametrize(
    ("headers", "seconds", "paused"),
    [
        ({"Retry-After": "7"}, 7.0, 7.0),
        ({"Date": "Mon, 02 Mar 2026 10:00:00 GMT", "Retry-After": "Mon, 02 Mar 2026 10:00:20 GMT"}, 20.0, 20.0),
        ({"X-RateLimit-Interval-Milliseconds": "10000"}, 10.0, 10.0),
        ({"Retry-After": "garbage"}, None, 10.0),
        ({}, None, 10.0),
    ],
)
async def test_429_says_how_long_to_wait_and_pauses_the_pace(headers, seconds, paused):
    recorder = Recorder()
    given = answer({}, 429, **{name.replace("-", "_"): value for name, value in headers.items()})
    async with serve(given) as site, client_of(site, recorder) as client:
        with pytest.raises(RateLimited) as caught:
            await client.create_contact({})
    assert caught.value.retry_after == seconds and recorder.pauses == [paused]
    assert caught.value.code == "rate_limited" and len(site.asked) == 1


async def test_429_with_the_days_quota_gone_is_told_apart():
    async with serve(answer({}, 429, X_RateLimit_Daily_Remaining="0")) as site:
        error = await failing(site, READS["get_contact"])
    assert isinstance(error, RateLimited) and error.code == "daily_quota"


@pytest.mark.parametrize("bad", ["", "two words", "line\nbreak", "é"])
async def test_a_token_that_no_header_can_carry_is_not_sent(bad):
    async with serve(answer({})) as site:
        error = await failing(site, READS["get_contact"], token_source=Tokens(bad))
    assert isinstance(error, CredentialsRejected) and site.asked == []
