"""What the client sends, and that the page it gives is what came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobsync.errors import ConfigError, InvalidInput, MalformedAnswer, RedirectRefused
from jobsync.servicetitan.auth import MemoryTokenStore
from jobsync.servicetitan.client import ServiceTitanClient, token_url
from jobsync.servicetitan.keyset import read_changes
from jobsync.servicetitan.pace import BucketPace
from jobsync.servicetitan.streams import STREAMS
from tests.servicetitan.conftest import MakeClient
from tests.servicetitan.stand_in import StandIn, feed_body, page_body

pytestmark = pytest.mark.anyio


async def test_an_export_page_is_asked_with_recent_changes_and_the_token_as_it_came(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(200, feed_body({"id": 7}, has_more=True, continue_from="a+b/c=="))]

    page = await client.export_page(STREAMS["jobs"], "x+y/z== &?#")

    assert titan.asked[0].path == "/jpm/v2/tenant/4711/export/jobs"
    assert titan.asked[0].params == [("includeRecentChanges", "true"), ("from", "x+y/z== &?#")]
    assert (page.array(), page.has_more, page.continue_from) == (b'[{"id": 7}]', True, "a+b/c==")


async def test_a_feed_is_started_by_a_date_or_from_the_first_record(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, feed_body())]

    await client.export_page(STREAMS["customers"], None)
    await client.export_page(STREAMS["customers"], None, datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    await client.export_page(STREAMS["customers"], None, datetime(2026, 1, 1))  # noqa: DTZ001 - a naive time is UTC

    assert "from" not in dict(titan.asked[0].params)
    assert titan.asked[1]["from"] == titan.asked[2]["from"] == "2026-01-01T00:00:00Z"


async def test_each_request_carries_token_and_app_key_and_the_key_never_stands_in_the_url(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(200, page_body())]

    await client.list_page(STREAMS["jobs"])

    asked = titan.asked[0]
    assert asked.headers["Authorization"] == "Bearer token-1"
    assert asked.headers["ST-App-Key"] == "canary-app-key"
    assert "canary" not in asked.path + asked.query
    assert titan.token_asked[0].method == "POST"
    assert titan.token_asked[0].form == {
        "grant_type": "client_credentials",
        "client_id": "canary-client-id",
        "client_secret": "canary-client-secret",
    }


async def test_a_list_page_asks_for_all_records_sorted_with_the_plus_encoded(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(200, page_body({"id": 1}, page=3, totalCount=9))]

    page = await client.list_page(
        STREAMS["customers"],
        modified_from="2026-01-01T00:00:00.1234567Z",
        modified_before="2026-01-02T00:00:00Z",
        page=3,
        page_size=500,
        include_total=True,
    )

    assert titan.asked[0].path == "/crm/v2/tenant/4711/customers"
    assert dict(titan.asked[0].params) == {
        "active": "Any",
        "page": "3",
        "pageSize": "500",
        "modifiedOnOrAfter": "2026-01-01T00:00:00.1234567Z",
        "modifiedBefore": "2026-01-02T00:00:00Z",
        "includeTotal": "true",
        "sort": "+ModifiedOn",
    }
    assert "sort=%2BModifiedOn" in titan.asked[0].query
    assert (page.total, len(page.records)) == (9, 1)
    assert page.served_at is not None
    assert abs(datetime.now(UTC) - page.served_at) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("jobs", "/jpm/v2/tenant/4711/jobs", {"sort": "+ModifiedOn"}),
        ("customers", "/crm/v2/tenant/4711/customers", {"sort": "+ModifiedOn", "active": "Any"}),
        ("customer_contacts", "/crm/v2/tenant/4711/customers/contacts", {}),
        ("locations", "/crm/v2/tenant/4711/locations", {"sort": "+ModifiedOn", "active": "Any"}),
        ("location_contacts", "/crm/v2/tenant/4711/locations/contacts", {}),
        ("appointments", "/jpm/v2/tenant/4711/appointments", {"sort": "+ModifiedOn", "active": "Any"}),
        ("estimates", "/sales/v2/tenant/4711/estimates", {"sort": "+ModifiedOn", "active": "Any"}),
        ("invoices", "/accounting/v2/tenant/4711/invoices", {"sort": "+ModifiedOn", "activeState": "All"}),
        ("business_units", "/settings/v2/tenant/4711/business-units", {"active": "Any"}),
        (
            "job_types",
            "/jpm/v2/tenant/4711/job-types",
            {"orderBy": "modifiedOn", "orderByDirection": "asc", "active": "Any"},
        ),
        ("tag_types", "/settings/v2/tenant/4711/tag-types", {"active": "Any"}),
        ("campaigns", "/marketing/v2/tenant/4711/campaigns", {"sort": "+ModifiedOn", "active": "Any"}),
        (
            "technician_assignments",
            "/dispatch/v2/tenant/4711/appointment-assignments",
            {"sort": "+ModifiedOn", "active": "Any"},
        ),
    ],
)
async def test_every_stream_is_listed_at_its_path_with_inactive_records(
    titan: StandIn, client: ServiceTitanClient, name: str, path: str, expected: dict[str, str]
) -> None:
    titan.answers = [(200, page_body())]

    await client.list_page(STREAMS[name])

    assert titan.asked[0].path == path
    assert dict(titan.asked[0].params) == {"page": "1", "pageSize": "5000"} | expected


async def test_the_thirteen_streams_are_declared() -> None:
    assert len(STREAMS) == 13
    assert all(name == stream.name for name, stream in STREAMS.items())


async def test_feeds_with_an_active_parameter_are_asked_for_any(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, feed_body())]

    await client.export_page(STREAMS["appointments"], None)
    await client.export_page(STREAMS["technician_assignments"], None)

    assert [asked["active"] for asked in titan.asked] == ["Any", "Any"]
    assert [asked.path for asked in titan.asked] == [
        "/jpm/v2/tenant/4711/export/appointments",
        "/dispatch/v2/tenant/4711/export/appointment-assignments",
    ]


async def test_a_stream_without_a_feed_cannot_be_exported(client: ServiceTitanClient) -> None:
    with pytest.raises(InvalidInput):
        await client.export_page(STREAMS["job_types"], None)


async def test_ids_are_asked_in_one_request_each_once_with_inactive_records(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(200, page_body({"id": 5}, {"id": 9223372036854775807}))]

    page = await client.by_ids(STREAMS["locations"], [5, 9223372036854775807, 5])

    assert titan.asked[0]["ids"] == "5,9223372036854775807"
    assert titan.asked[0]["active"] == "Any"
    assert len(page.records) == 2


async def test_contacts_are_asked_by_their_owners(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, page_body({"id": 1, "customerId": 5}, {"id": 1, "customerId": 6}))]

    page = await client.by_ids(STREAMS["customer_contacts"], [5, 6])

    assert titan.asked[0]["customerIds"] == "5,6"
    assert len(page.records) == 2


async def test_records_that_were_not_asked_for_mean_that_the_ids_were_ignored(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(200, page_body({"id": 5}, {"id": 6}))]

    with pytest.raises(MalformedAnswer) as raised:
        await client.by_ids(STREAMS["customers"], [5])
    assert raised.value.code == "filter_ignored"


async def test_a_record_without_an_id_is_passed_on_for_the_quarantine(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    titan.answers = [(200, page_body({"id": 5}, {"name": "no id"}))]

    assert len((await client.by_ids(STREAMS["customers"], [5])).records) == 2


async def test_more_than_fifty_ids_are_refused_before_anything_is_sent(
    titan: StandIn, client: ServiceTitanClient
) -> None:
    for ids in (range(1, 52), ["5 or 1=1"], ["٣"]):
        with pytest.raises(InvalidInput):
            await client.by_ids(STREAMS["customers"], ids)
    with pytest.raises(InvalidInput):
        await client.by_ids(STREAMS["tag_types"], [1])

    assert titan.asked == []


async def test_no_ids_ask_nothing(titan: StandIn, client: ServiceTitanClient) -> None:
    assert list((await client.by_ids(STREAMS["customers"], [])).records) == []
    assert titan.asked == titan.token_asked == []


async def test_another_page_than_the_one_asked_for_is_malformed(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, page_body(page=1))]

    with pytest.raises(MalformedAnswer) as raised:
        await client.list_page(STREAMS["jobs"], page=2)
    assert raised.value.code == "page_ignored"


async def test_requests_are_counted_by_kind_and_status(titan: StandIn, make_client: MakeClient) -> None:
    counted: list[tuple[str, int | None]] = []
    client = make_client(titan.url, on_request=lambda kind, status: counted.append((kind, status)))
    titan.answers = [(200, feed_body()), (200, page_body()), (200, page_body())]

    await client.export_page(STREAMS["jobs"], None)
    await client.list_page(STREAMS["jobs"])
    await client.by_ids(STREAMS["jobs"], [1])

    assert counted == [("token", 200), ("export", 200), ("list", 200), ("ids", 200)]


async def test_a_whole_change_run_works_over_http(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, page_body({"id": 1, "modifiedOn": "2026-01-02T03:04:05.6Z"}))]

    pieces = [
        piece
        async for piece in read_changes(
            client.fetcher(STREAMS["jobs"]), since="2026-01-01T00:00:00Z", page_size=100, keys=STREAMS["jobs"].keys
        )
    ]

    assert titan.asked[0]["modifiedOnOrAfter"] == "2026-01-01T00:00:00.0000000Z"
    assert [(len(piece.page.records), piece.watermark, piece.done) for piece in pieces] == [
        (1, "2026-01-02T03:04:05.6000000Z", True)
    ]


async def test_read_passes_answers_on_refusals_too(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, {"id": 5}), (404, {"title": "none"}, {"X-Internal": "no"})]

    async with client.read("/jpm/v2/tenant/{tenant}/jobs/5", {"externalDataApplicationGuid": "a b"}) as answer:
        assert (answer.status, b"".join([chunk async for chunk in answer.body])) == (200, b'{"id": 5}')
    async with client.read("/crm/v2/tenant/{tenant}/customers", [("page", "2"), ("ids", "1"), ("ids", "2")]) as answer:
        assert answer.status == 404
        assert "X-Internal" not in answer.headers

    assert titan.asked[0].path == "/jpm/v2/tenant/4711/jobs/5"
    assert titan.asked[1].params == [("page", "2"), ("ids", "1"), ("ids", "2")]


@pytest.mark.parametrize(
    "path",
    [
        "/jpm/v2/tenant/9999/jobs",
        "/jpm/v2/tenant/{tenant}/../jobs",
        "/jpm/v2/tenant/{tenant}/jobs/..%2f..%2fcrm",
        "/jpm/v2/tenant/{tenant}/jobs?x=1",
        "/jpm/v2/tenant/{tenant}",
        "//evil.example.com/v2/tenant/{tenant}/jobs",
        "jobs",
        "/jpm/v2/tenant/{tenant}/jobs\n",
        "/jpm/v2/tenant/{tenant}/jobs/{tenant}",
    ],
)
async def test_read_refuses_paths_that_could_lead_elsewhere(
    titan: StandIn, client: ServiceTitanClient, path: str
) -> None:
    with pytest.raises(InvalidInput):
        async with client.read(path):
            pass
    assert titan.asked == []


async def test_read_never_passes_an_app_key_in_the_query(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(200, {})]

    async with client.read("/jpm/v2/tenant/{tenant}/jobs", {"ServiceTitanApplicationKey": "k", "page": "1"}):
        pass

    assert titan.asked[0].params == [("page", "1")]


async def test_read_follows_no_redirect(titan: StandIn, client: ServiceTitanClient) -> None:
    titan.answers = [(302, b"", {"Location": "https://example.com/"})]

    with pytest.raises(RedirectRefused):
        async with client.read("/jpm/v2/tenant/{tenant}/jobs"):
            pass


@pytest.mark.parametrize(
    ("environment", "given", "expected"),
    [
        ("production", None, "https://auth.servicetitan.io/connect/token"),
        ("integration", None, "https://auth-integration.servicetitan.io/connect/token"),
        ("production", "https://auth.example.com", "https://auth.example.com/connect/token"),
        ("production", "https://auth.example.com/", "https://auth.example.com/connect/token"),
        ("production", "auth.example.com", "https://auth.example.com/connect/token"),
        ("production", "http://127.0.0.1:9000", "http://127.0.0.1:9000/connect/token"),
        ("production", "https://auth.example.com/connect/token", "https://auth.example.com/connect/token"),
        ("production", "https://auth.example.com/t/oauth2", "https://auth.example.com/t/oauth2"),
    ],
)
async def test_the_auth_url_may_be_a_host_or_the_whole_endpoint(
    environment: str, given: str | None, expected: str
) -> None:
    assert token_url(environment, given) == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tenant_id": ""}, "SERVICE_TITAN_TENANT_ID"),
        ({"tenant_id": "1/../2"}, "SERVICE_TITAN_TENANT_ID"),
        ({"app_key": "key\r\nX: y"}, "SERVICE_TITAN_APP_KEY"),
        ({"app_key": ""}, "SERVICE_TITAN_APP_KEY"),
        ({"environment": "sandbox"}, "SERVICE_TITAN_ENVIRONMENT"),
        ({"api_url": "ftp://api.example.com"}, "SERVICE_TITAN_API_URL"),
        ({"api_url": "https://user:secret@api.example.com"}, "SERVICE_TITAN_API_URL"),
        ({"api_url": "https://api.example.com:port"}, "SERVICE_TITAN_API_URL"),
        ({"auth_url": "https://auth.example.com?x=1"}, "SERVICE_TITAN_AUTH_URL"),
        ({"auth_url": "https://"}, "SERVICE_TITAN_AUTH_URL"),
    ],
)
async def test_settings_that_cannot_work_are_named_at_once(
    make_client: MakeClient, settings: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        make_client("http://127.0.0.1:1", **({"api_url": None, "auth_url": None} | settings))
    assert named in raised.value.message
    assert "secret" not in raised.value.message


async def test_a_client_that_opens_its_session_closes_it(titan: StandIn) -> None:
    titan.answers = [(200, page_body())]
    async with ServiceTitanClient(
        tenant_id="1",
        client_id="a",
        client_secret="b",
        app_key="c",
        api_url=titan.url,
        auth_url=titan.url,
        pace=BucketPace(),
        tokens=MemoryTokenStore(),
    ) as client:
        await client.list_page(STREAMS["jobs"])

    with pytest.raises(RuntimeError):
        await client.list_page(STREAMS["jobs"])
