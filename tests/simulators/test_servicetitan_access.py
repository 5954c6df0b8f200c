"""Tokens, app key, tenant, rate limit and unknown paths, as sections 1 to 3 of the ServiceTitan contract say."""

from __future__ import annotations

import base64
import json

import pytest

from jobsync.simulators.servicetitan import Account, Dataset, Simulator, serve
from tests.simulators.servicetitan_site import open_site

pytestmark = pytest.mark.anyio
ERROR_MEMBERS = {"type", "title", "status", "traceId", "errors", "data"}


async def test_a_token_lives_900_seconds_and_carries_the_documented_claims() -> None:
    async with open_site() as site:
        status, body = await site.ask_token()
        assert status == 200
        assert (body["expires_in"], body["token_type"]) == (900, "Bearer")
        part = body["access_token"].split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        assert {"nbf", "exp", "iss", "client_id", "tenant", "jti", "iat", "scope"} <= claims.keys()
        assert claims["exp"] - claims["iat"] == 900


async def test_an_expired_token_answers_401_and_a_new_one_works() -> None:
    async with open_site() as site:
        site.simulator.clock.advance(899)
        await site.read("jpm/jobs")
        site.simulator.clock.advance(2)
        assert (await site.read("jpm/jobs", status=401))["status"] == 401
        await site.log_in()
        await site.read("jpm/jobs")


async def test_revoked_tokens_die_at_once() -> None:
    async with open_site() as site:
        assert (await site.control("POST", "revoke-tokens"))["revoked"] == 1
        await site.read("jpm/jobs", status=401)


async def test_wrong_credentials_are_invalid_client_and_other_grants_unsupported() -> None:
    async with open_site() as site:
        assert await site.ask_token(client_secret="wrong") == (400, {"error": "invalid_client"})
        assert await site.ask_token(grant_type="password") == (400, {"error": "unsupported_grant_type"})
        async with site.session.post("/connect/token", json={"grant_type": "client_credentials"}) as answer:
            assert (answer.status, await answer.json()) == (400, {"error": "invalid_request"})


async def test_the_token_endpoint_can_be_throttled() -> None:
    async with open_site(token_requests_per_minute=2) as site:
        assert [(await site.ask_token())[0] for _ in range(2)] == [200, 429]  # the site itself took one to log in
        site.simulator.clock.advance(61)
        assert (await site.ask_token())[0] == 200


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer unknown"}, 401),
        ({"ST-App-Key": "other"}, 401),
        ({"ST-App-Key": ""}, 401),
    ],
)
async def test_a_call_without_both_token_and_app_key_answers_401(changed: dict[str, str], status: int) -> None:
    async with open_site() as site:
        site.headers |= changed
        body = await site.read("jpm/jobs", status=status)
        assert body.keys() == ERROR_MEMBERS


async def test_the_bare_token_without_bearer_answers_401() -> None:
    async with open_site() as site:
        site.headers["Authorization"] = site.headers["Authorization"].removeprefix("Bearer ")
        await site.read("jpm/jobs", status=401)


async def test_a_token_of_one_tenant_answers_403_for_another() -> None:
    async with open_site() as site:
        other = Account(tenant=77, client_id="cid.other", client_secret="cs.other", app_key="ak.other")
        site.simulator.add_tenant(other, Dataset.generate(seed=8, jobs=5))
        async with site.session.get("/jpm/v2/tenant/77/jobs", headers=site.headers) as answer:
            assert answer.status == 403


async def test_two_tenants_show_their_own_rows() -> None:
    simulator = Simulator(Dataset.generate(seed=1, jobs=10))
    other = Account(tenant=77, client_id="cid.other", client_secret="cs.other", app_key="ak.other")
    simulator.add_tenant(other, Dataset.generate(seed=2, jobs=20))
    assert len(simulator.dataset().tables["jobs"]) == 10
    assert len(simulator.dataset(77).tables["jobs"]) == 20
    async with await serve(simulator) as served:
        assert served.port > 0 and served.url.endswith(str(served.port))


async def test_unknown_routes_answer_404_and_other_methods_405() -> None:
    async with open_site() as site:
        await site.read("jpm/robots", status=404)
        await site.read("jpm/jobs/12/contacts", status=404)
        await site.read("accounting/invoices/12", status=404)  # there is no such route: invoices go by ids
        async with site.session.post(site.path("jpm/jobs"), headers=site.headers) as answer:
            assert answer.status == 405


async def test_60_calls_pass_in_any_second_and_the_61st_answers_429_with_its_wait() -> None:
    async with open_site(rate_limit=60, rate_window_seconds=30.0) as site:
        for _ in range(60):
            await site.read("settings/tag-types")
        async with site.get("settings/tag-types") as answer:
            body = await answer.json()
            assert answer.status == 429
            assert body.keys() == ERROR_MEMBERS
            wait = int(answer.headers["Retry-After"])
            assert 25 <= wait <= 30
            assert body["title"] == f"Rate limit is exceeded. Try again in {wait} seconds."


async def test_the_shape_of_401_bodies_is_a_switch() -> None:
    async with open_site(error_body="html") as site:
        site.headers["Authorization"] = ""
        async with site.get("jpm/jobs") as answer:
            assert (answer.status, answer.content_type) == (401, "text/html")


async def test_the_date_header_follows_the_simulated_clock_and_can_be_skewed() -> None:
    async with open_site() as site:
        async with site.get("jpm/jobs") as answer:
            assert answer.headers["Date"] == "Thu, 20 Nov 2025 15:00:00 GMT"
        site.simulator.switches.turn(date_skew_seconds=-300.0)
        async with site.get("jpm/jobs") as answer:
            assert answer.headers["Date"] == "Thu, 20 Nov 2025 14:55:00 GMT"
