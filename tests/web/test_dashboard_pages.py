"""The pages of the dashboard: what they show, and that what strangers wrote stays text."""

from __future__ import annotations

import psycopg
import pytest

from tests.web.conftest import Api
from tests.web.visitor import let_in

pytestmark = pytest.mark.anyio


async def test_forty_payloads_in_every_field_stay_text(api: Api, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("update business_units set name = '<script>alert(1)</script>' where st_business_unit_id = 1314")
    page = await let_in(api, dsn).get("/ui/")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "<script>" not in page.text and "style=" not in page.text
