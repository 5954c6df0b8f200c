"""A stage for stories over the whole line: both simulators on sockets, an engine on a fresh database, and its ledgers.

async with open_stage(dsn, tmp_path, jobs=120) as stage:
    await stage.route_all()
    report = await stage.sync()
    assert stage.posts() == ...
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from jobsync.cli import main
from jobsync.config import Settings
from jobsync.engine.context import Engine
from jobsync.engine.opening import open_engine
from jobsync.engine.route import route_unit
from jobsync.simulators import gohighlevel, servicetitan
from jobsync.tasks.worker import sync_once

TENANT = "default"
UNITS = (1314, 54670601, 4622, 26143, 1308, 4623)
FEEDS = "*/export/*"
KEPT_VARIABLES = ("PATH", "HOME", "TMPDIR", "LANG", "PYTEST_CURRENT_TEST")
REFERENCE_LISTS = ("business-units", "job-types", "tag-types", "campaigns")


@dataclass(frozen=True)
class Ran:
    """A finished process: its exit code, what it said, and what it gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


@dataclass
class Stage:
    """Both upstreams, one database."""

    titan: servicetitan.Simulator
    level: gohighlevel.GoHighLevelSimulator
    titan_url: str
    level_url: str
    dsn: str
    data_dir: Path
    more: dict[str, Any] = field(default_factory=dict)
    opened: Engine | None = None
    _owner: psycopg.Connection[dict[str, Any]] | None = None

    @property
    def engine(self) -> Engine:
        """The engine on the stage's database; there is none where only processes work on it."""
        assert self.opened is not None
        return self.opened

    @property
    def act(self) -> servicetitan.Actions:
        """What people do in ServiceTitan."""
        return self.titan.actions()

    def environment(self) -> dict[str, str]:
        """The variables of a live JobSync on this stage; what `more` says wins, None takes one away."""
        account = self.titan.account()
        given: dict[str, Any] = {
            "DATABASE_URL": self.dsn,
            "SERVICE_TITAN_TENANT_ID": str(account.tenant),
            "SERVICE_TITAN_CLIENT_ID": account.client_id,
            "SERVICE_TITAN_CLIENT_SECRET": account.client_secret,
            "SERVICE_TITAN_APP_KEY": account.app_key,
            "SERVICE_TITAN_API_URL": self.titan_url,
            "SERVICE_TITAN_AUTH_URL": self.titan_url,
            "JOBSYNC_ALLOW_HOSTS": "127.0.0.1",
            "JOBSYNC_MODE": "live",
            "JOBSYNC_DELIVER_FROM": "2000-01-01T00:00:00Z",
            "JOBSYNC_GHL_PACE": "0",
            # Every connection of a fresh database learns the schema anew.
            "DATABASE_MAX_CONNECTIONS": "4",
            "JOBSYNC_DATA_DIR": str(self.data_dir),
            "LOG_LEVEL": "ERROR",
            **self.more,
        }
        return {name: str(value) for name, value in given.items() if value is not None}

    def settings(self) -> Settings:
        """The same as settings of this process."""
        return Settings.model_validate(self.environment())

    @property
    def location(self) -> Any:
        """GoHighLevel's one location."""
        return self.level.find_location(None)

    def connect_location(self) -> None:
        """Puts GoHighLevel's token, location and address into the environment."""
        token = self.level.tokens.issue_pit(self.location.id)
        self.more |= {"GHL_API_KEY": token, "GHL_LOCATION_ID": self.location.id, "GHL_API_URL": self.level_url}

    def add_hook(self, mode: str = "live") -> str:
        """A new inbound hook in GoHighLevel; its URL."""
        return self.level_url + self.level.hook_path(self.level.add_hook(mode=mode))

    def break_hook(self, url: str, kind: str, *, times: int | None = None, **options: Any) -> None:
        """Lets a hook fail: `kind` and `options` as the simulator's faults take them."""
        self.level.faults.add(kind, path=url.removeprefix(self.level_url), times=times, **options)

    async def route(self, unit: int, url: str | None = None, **more: Any) -> str:
        """Gives a unit a hook (a new live one); answers its URL."""
        url = url or self.add_hook()
        await route_unit(self.engine, TENANT, unit, actor="test", webhook_url=url, **more)
        return url

    async def route_all(self, units: tuple[int, ...] = UNITS) -> str:
        """Reads the units and gives them all one hook; answers its URL."""
        await sync_once(self.engine, TENANT, deliver=False, streams=("business_units",))
        url = self.add_hook()
        for unit in units:
            await self.route(unit, url)
        return url

    async def sync(self, **how: Any) -> dict[str, Any]:
        """One pass; its report."""
        return await sync_once(self.engine, TENANT, **how)

    def posts(self) -> dict[int, int]:
        """Posts by job that GoHighLevel received."""
        return {int(job): count for job, count in self.level.ledger.posts_by_job.items()}

    def bodies(self) -> dict[int, dict[str, Any]]:
        """The last body of each job."""
        return {int(post.job): post.content() for post in self.level.ledger.posts if post.job}

    def job_ids(self) -> list[int]:
        """Every job that ServiceTitan has."""
        return list(self.titan.dataset().tables["jobs"].keys())

    def jobs_of(self, *units: int) -> list[int]:
        """ServiceTitan's jobs of these units."""
        table = self.titan.dataset().tables["jobs"]
        return [
            key
            for key in table.keys()  # noqa: SIM118
            if (found := table.get(key)) is not None and found.fields()["businessUnitId"] in units
        ]

    def data_requests(self) -> Counter[str]:
        """Data requests to ServiceTitan by kind of path: without tokens and reference lists."""
        wanted: Counter[str] = Counter()
        for (_, path, _), count in self.titan.ledger.counts.items():
            if path != "connect/token" and not path.endswith(REFERENCE_LISTS):
                wanted[path] += count
        return wanted

    def rows(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        """What the database says, as its owner."""
        return self._ask(statement, parameters).fetchall()

    def value(self, statement: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        return next(iter(self.rows(statement, *parameters)[0].values()))

    def run(self, statement: str, *parameters: Any) -> None:
        """Changes the database, as its owner."""
        self._ask(statement, parameters)

    def close(self) -> None:
        """Leaves the database; the next question connects again."""
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def _ask(self, statement: str, parameters: tuple[Any, ...]) -> psycopg.Cursor[dict[str, Any]]:
        if self._owner is not None:
            # A story may have stopped the server meanwhile.
            with suppress(psycopg.OperationalError):
                self._owner.execute("select")
            if self._owner.closed:
                self._owner = None
        if self._owner is None:
            self._owner = psycopg.Connection[dict[str, Any]].connect(self.dsn, autocommit=True, row_factory=dict_row)
        return self._owner.execute(statement.encode(), parameters or None)

    async def start(self, *words: str, **changes: Any) -> asyncio.subprocess.Process:
        """Starts `jobsync WORDS` as a process; `changes` to its environment, None takes a variable away."""
        return await start_jobsync(self.data_dir, {**self.environment(), **changes}, *words)

    async def process(self, *words: str, **changes: Any) -> Ran:
        """Runs `jobsync WORDS` as a process of its own, to its end."""
        return await finish(await self.start(*words, **changes))

    async def jobsync(self, *words: str, **changes: Any) -> Ran:
        """Runs `jobsync WORDS` inside this process, which saves the second that a process needs to start."""
        return await call_jobsync(self.data_dir, {**self.environment(), **changes}, *words)


_ONE_AT_A_TIME = threading.Lock()


async def call_jobsync(directory: Path, environment: dict[str, Any], *words: str) -> Ran:
    """Calls the entry point of the command in a thread, with its own environment, folder, stdin and output."""
    return await asyncio.to_thread(_call_main, directory, environment, words)


def _call_main(directory: Path, environment: dict[str, Any], words: tuple[str, ...]) -> Ran:
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with _ONE_AT_A_TIME, pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name not in KEPT_VARIABLES:
                patch.delenv(name)
        for name, value in environment.items():
            if value is not None:
                patch.setenv(name, str(value))
        patch.chdir(directory)
        for name, value in {"argv": ["jobsync", *words], "stdin": io.StringIO(), "stdout": out, "stderr": err}.items():
            patch.setattr(sys, name, value)
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Ran(code, out.getvalue(), err.getvalue())


async def start_jobsync(directory: Path, environment: dict[str, Any], *words: str) -> asyncio.subprocess.Process:
    """Starts the command in an empty working directory with nothing in its environment but what is given."""
    given = {name: str(value) for name, value in environment.items() if value is not None}
    return await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "jobsync"),
        *words,
        cwd=directory,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(directory), "PYTHONUTF8": "1", **given},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> Ran:
    """Waits for a process at most a minute; one that hangs is killed, which fails the test by its exit code."""
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def open_upstreams(
    *, jobs: int = 60, seed: int = 7, **switches: Any
) -> AsyncIterator[tuple[servicetitan.Served, gohighlevel.Serving]]:
    """Both simulators on free ports; ServiceTitan's rate limit is off, its clock stands at the machine's time."""
    now = servicetitan.machine_now()
    titan = servicetitan.Simulator(
        servicetitan.Dataset.generate(seed, jobs, now=now, activity=False), clock=servicetitan.SimClock(now)
    )
    titan.switches.turn(**{"rate_limit": 0, **switches})
    level = gohighlevel.GoHighLevelSimulator(seed=seed)
    gohighlevel.furnish(level)
    async with await servicetitan.serve(titan) as served, await gohighlevel.serve(level) as serving:
        yield served, serving


@asynccontextmanager
async def open_stage(
    dsn: str,
    directory: Path,
    *,
    jobs: int = 60,
    seed: int = 7,
    engine: bool = True,
    lists_only: bool = False,
    connected: bool = False,
    more: dict[str, Any] | None = None,
    **switches: Any,
) -> AsyncIterator[Stage]:
    """The stage. `more`: further settings by variable name; `lists_only`: ServiceTitan refuses its export feeds;
    `connected`: GoHighLevel's API is connected, too."""
    async with open_upstreams(jobs=jobs, seed=seed, **switches) as (served, serving):
        if lists_only:
            served.simulator.faults.refuse(FEEDS)
        stage = Stage(served.simulator, serving.app, served.url, serving.url, dsn, directory, dict(more or {}))
        with closing(stage):
            if connected:
                stage.connect_location()
            if not engine:
                yield stage
                return
            async with open_engine(stage.settings()) as opened:
                stage.opened = opened
                yield stage
