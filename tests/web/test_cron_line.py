"""The guide's cron line, as the documentation prints it, mails the numbers of a running service."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import anyio
import pytest

from tests.web.conftest import Api

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[2] / "docs/alerts.md"
MAIL = """#!/bin/sh
printf '%s\\n' "$@" > "$MAILED/to"
cat > "$MAILED/body"
"""


@pytest.mark.skipif(shutil.which("curl") is None, reason="the line calls curl, and there is none here")
async def test_the_cron_line_mails_the_statistics(api: Api, tmp_path: Path) -> None:
    await api.post(
        "/db/sync-logs", {"syncType": "n8n_sync", "status": "failed", "errorMessage": "node Get Jobs failed"}
    )
    (line,) = re.findall(r"^0 \* \* \* \* (curl .*)$", PAGE.read_text(), re.MULTILINE)
    assert "localhost:3001/db/sync-logs/statistics | mail" in line
    (tmp_path / "mail").write_text(MAIL)
    (tmp_path / "mail").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MAILED": str(tmp_path), "no_proxy": "*"}
    # cron gives the line to /bin/sh as it stands; only the port is another one here.
    ran = await anyio.run_process(
        ["/bin/sh", "-c", line.replace("localhost:3001", f"127.0.0.1:{api.port}")], env=environ
    )
    assert ran.stderr == b""
    assert (tmp_path / "to").read_text().split("\n")[:2] == ["-s", "Sync Health"]
    (row,) = json.loads((tmp_path / "body").read_text())
    assert (row["sync_type"], row["status"], row["count"]) == ("n8n_sync", "failed", 1)
