"""One simulated world: two upstreams, one database, a few worker processes, and chance. One seed is one run.

    world = World(seed, home)
    findings = world.run()          # an empty list: every promise held
    world.trace                     # the same for the same seed, always

Phases: trouble (people work, processes crash and stall, the network and the database break, operators change routes,
deploys), then calm (everything works, time goes by until nothing is due), then the ledgers are compared.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from unittest import mock

import psycopg
import structlog

from jobsync.config import Settings
from jobsync.db.sealing import Keyring
from jobsync.engine import access_tokens, claims, deliver, lookup, pull
from jobsync.engine.context import Engine
from jobsync.engine.sending import initialise_tenant
from jobsync.log import _keep_allowed as allow
from jobsync.simulators import gohighlevel, servicetitan
from tests.simulation.ledgers import check_at_rest, check_cursors
from tests.simulation.loop import PROCESS, Crashed, Process, SimulatedLoop
from tests.simulation.people import HOWS, SPOILED, UNITS, live_as_people, look_after, operate, route_units
from tests.simulation.postgres import Home
from tests.simulation.profile import Profile
from tests.simulation.taskqueue import EXPECTED, TaskQueue, run_worker
from tests.simulation.watch import Watch
from tests.simulation.wire import Answer, Faults, Session, call_app, refuse, run_now

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TITAN, LEVEL = "http://titan.test", "http://level.test"
SECRET = "canary-secret-d41d8cd9"
KEY = b"k" * 32
MOST_ENDINGS = 10
STEPS_TO_END = 10_000


class TitanClock(servicetitan.SimClock):
    """ServiceTitan's time is the world's; each stamp is a tick later, so that none is shared by accident."""

    world: World

    def now(self) -> int:
        """Ticks."""
        self._base = max(self._base, servicetitan.read_instant(self.world.timestamp().replace("+00:00", "Z")))
        return self._base

    def stamp(self) -> int:
        """Ticks of a record that is being written."""
        self.now()
        self._base += 1
        return self._base


class LevelClock(gohighlevel.MovableClock):
    """GoHighLevel's time is the world's."""

    world: World

    def now(self) -> float:
        """Epoch seconds."""
        return self.world.now().timestamp()


class World:
    """See the module's docstring. `crash_at`: also kill whoever reaches the so-manieth boundary."""

    def __init__(self, seed: int, home: Home, *, crash_at: int | None = None, **forced: Any) -> None:
        self.seed, self.home = seed, home
        self.rng = Random(f"world {seed}")
        self.profile = Profile(self.rng, Random(f"more {seed}"))
        for name, value in forced.items():
            setattr(self.profile, name, value)
        self.loop = SimulatedLoop(Random(f"steps {seed}"), most_steps=200_000 if self.profile.by_api else 60_000)
        self.faults = Faults(self.rng, self.profile.fault_grade)
        self.queue = TaskQueue(self)
        self.processes: list[Process] = []
        self.crash_at = crash_at
        self.points = 0
        self.crashes = 0
        self.is_calm = False
        self.findings: list[str] = []
        self.events: list[str] = []
        self._hash = hashlib.sha256()
        self._parked: list[asyncio.Future[None]] = []
        self._waiting: set[int] = set()
        self.logs = io.StringIO()
        self.tenants = ["default"] + (["other"] if self.profile.two_tenants else [])
        self.titan: Any = None
        self.concurrency = self.profile.concurrency

    # --- time and trace

    def now(self) -> datetime:
        """The world's time."""
        return START + timedelta(seconds=self.loop.time() - 1000.0)

    def timestamp(self) -> str:
        """The same as PostgreSQL and ISO 8601 read it."""
        return self.now().isoformat()

    def note(self, *what: Any) -> None:
        """Writes an event into the trace."""
        line = f"{self.loop.time():.3f} {' '.join(str(one)[:90] for one in what)}"
        self._hash.update(line.encode())
        if len(self.events) < 20_000:
            self.events.append(line)

    @property
    def trace(self) -> str:
        """The hash of everything that happened, in order."""
        return self._hash.hexdigest()

    def find(self, finding: str) -> None:
        """A broken promise."""
        if finding not in self.findings:
            self.findings.append(finding)
            self.note("FINDING", finding)

    # --- boundaries

    async def point(self, label: str) -> None:
        """A boundary of a process: here it may die, stall, or let others go first."""
        process = PROCESS.get()
        if process is None:
            return
        process.check()
        self.points += 1
        self.note(process.name, label)
        if not self.is_calm:
            dice = self.rng.random()
            if self.points == self.crash_at or dice < self.profile.crash_rate:
                self.crash(process)
                raise Crashed(process.name)
            if dice > 1 - self.profile.stall_rate:
                process.stalled_until = self.loop.time() + self.rng.choice((5.0, 45.0, 70.0, 130.0))
                self.note(process.name, "stalls until", process.stalled_until)
                self.watch.note_misfortune(process)
        await asyncio.sleep(0)
        process.check()

    def crash(self, process: Process) -> None:
        """Kills a process and looks at what it left behind."""
        self.crashes += 1
        self.note(process.name, "CRASH")
        self.loop.kill(process)
        self.watch.note_misfortune(process)
        if self.crashes <= 3:
            check_cursors(self)

    async def before_checkout(self) -> None:
        """Before a transaction begins."""
        await self.point("begin")
        self._break_database()

    async def before_statement(self, name: str | None) -> None:
        """Before each statement of a transaction."""
        if name in ("limit_statements", None):
            return
        await self.point(name)
        self._break_database()

    def after_statement(self, connection: Any, name: str | None, params: Any, cursor: Any) -> None:
        """After each statement: what was claimed or booked is watched."""
        if name is not None:
            self.watch.statement(connection, name, params, cursor)

    async def at_commit(self, connection: Any, *, before: bool) -> None:
        """On both sides of a commit. Breaks: the commit is lost, or done and never heard of."""
        await self.point("commit" if before else "committed")
        try:
            self._break_database()
        except psycopg.OperationalError:
            if not before:
                self.watch.note_commit(connection, heard=False)
            raise
        if not before:
            self.watch.note_commit(connection, heard=True)

    def _break_database(self) -> None:
        process = PROCESS.get()
        if process is not None and not self.is_calm and self.rng.random() < self.profile.database_loss:
            self.note(process.name, "loses the database")
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    # --- locks

    def is_blocked(self, pid: int) -> bool:
        """Whether this backend waits for another one."""
        return bool(self.home.blockers(pid))

    async def until_released(self) -> None:
        """Waits until any transaction has ended, or for a second: PostgreSQL may have ended this wait by itself (two that
        wait for each other, a lock's time that is over), which nobody here is told of."""
        self.note("waits for a lock")
        waiter: asyncio.Future[None] = self.loop.create_future()
        self._parked.append(waiter)
        self.loop.call_later(1.0, lambda: waiter.done() or waiter.set_result(None))
        await waiter

    def release(self) -> None:
        """A transaction has ended: whoever waits for a lock looks again."""
        parked, self._parked = self._parked, []
        for waiter in parked:
            if not waiter.done():
                waiter.set_result(None)

    # --- upstreams

    def serve(self, call: tuple[str, str, dict[str, str], bytes]) -> Answer:
        """The right answer to a request."""
        method, url, _, _ = call
        app = self.titan if url.startswith(TITAN) else self.level
        if app is self.level:
            self.watch.arrived(call)
        answer = run_now(call_app(app, call))
        self.note(method, url.split("?")[0].removeprefix(LEVEL).removeprefix(TITAN)[:70], answer.status)
        return answer

    def refusal(self, call: tuple[str, str, dict[str, str], bytes]) -> Answer:
        """An answer instead of the right one."""
        answer = refuse(self.rng, self.profile.retry_after)
        while answer.status == 200 and call[1].startswith(LEVEL):
            # A hook's 2xx counts as taken: a stand-in that lies would be a lost job by contract.
            answer = refuse(self.rng, self.profile.retry_after)
        self.note("refused", answer.status)
        return answer

    def _build_upstreams(self) -> None:
        profile = self.profile
        clock = TitanClock(0)
        clock.world = self
        for place, _tenant in enumerate(self.tenants):
            data = servicetitan.Dataset.generate(
                self.seed * 2 + place, profile.jobs, UNITS, now=self.timestamp(), days=20, activity=False,
                tied_jobs=profile.tied_jobs, customers=profile.customers,
            )  # fmt: skip
            account = servicetitan.Account(
                tenant=900 + place, client_id=f"client-{place}", client_secret=SECRET + str(place)
            )
            if self.titan is None:
                self.titan = servicetitan.Simulator(data, account=account, clock=clock)
                self.titan.switches.turn(
                    rate_limit=0, export_rows_per_call=profile.feed_rows, export_lag_seconds=300.0,
                    cursor_life_seconds=profile.cursor_life, tie_order="id", page_size_limit=5000,
                    sort_honoured=profile.sort_honoured, default_sort=profile.default_sort,
                )  # fmt: skip
            else:
                self.titan.add_tenant(account, data)
        if profile.lists_only:
            self.titan.faults.refuse("*/export/*")
        elif profile.feed_breaks:
            self.titan.faults.plan(
                "status", f"{profile.feed_breaks}", status=403, count=1, skip=profile.feed_breaks_after
            )
        if profile.poison:
            self.titan.faults.corrupt(self.rng.choice(SPOILED), self.rng.choice(HOWS), row=0)
        level_clock = LevelClock(0.0)
        level_clock.world = self
        self.level = gohighlevel.GoHighLevelSimulator(seed=self.seed, clock=level_clock)
        self.level.switches.burst_limit = 0
        if profile.by_api:
            # What was written is found by a search only a while later.
            self.level.switches.turn(search_lag_min_seconds=0, search_lag_max_seconds=profile.search_lag)
        self.places = {tenant: gohighlevel.furnish(self.level) for tenant in self.tenants}
        self.hooks: dict[str, list[str]] = {
            tenant: [LEVEL + self.level.hook_path(self.level.add_hook(location=place.location.id)) for _ in range(2)]
            for tenant, place in self.places.items()
        }

    def account(self, tenant: str) -> Any:
        """Who reads this tenant's ServiceTitan."""
        return self.titan.account(900 + self.tenants.index(tenant))

    def dataset(self, tenant: str) -> Any:
        """What is true in this tenant's ServiceTitan."""
        return self.titan.dataset(900 + self.tenants.index(tenant))

    # --- processes

    def settings(self) -> Settings:
        """Settings of every process."""
        account = self.account("default")
        return Settings.model_validate(
            {
                "DATABASE_URL": self.home.dsn,
                "SERVICE_TITAN_TENANT_ID": str(account.tenant),
                "SERVICE_TITAN_CLIENT_ID": account.client_id,
                "SERVICE_TITAN_CLIENT_SECRET": account.client_secret,
                "SERVICE_TITAN_APP_KEY": account.app_key,
                "SERVICE_TITAN_API_URL": TITAN,
                "SERVICE_TITAN_AUTH_URL": TITAN,
                "JOBSYNC_ALLOW_HOSTS": "level.test,titan.test",
                "JOBSYNC_MODE": "live",
                "JOBSYNC_DELIVER_FROM": "2000-01-01T00:00:00Z",
                "JOBSYNC_GHL_PACE": "0",
                "JOBSYNC_CAP_HOUR": "0",
                "JOBSYNC_CAP_DAY": "0",
                **self._connection(),
            }
        )

    def _connection(self) -> dict[str, str]:
        if not self.profile.by_api:
            return {}
        place = self.places["default"]
        return {"GHL_API_KEY": place.token, "GHL_LOCATION_ID": place.location.id, "GHL_API_URL": LEVEL}

    def engine(self) -> Engine:
        """A fresh engine, as each process has its own."""
        return Engine(self.settings(), self.home.database(), Keyring([KEY]))

    def _start(self, name: str, act: Callable[[Process], Awaitable[Any]]) -> tuple[Process, asyncio.Task[None]]:
        process = Process(name)
        self.processes.append(process)

        async def live() -> None:
            await act(process)

        context = copy_context()
        context.run(PROCESS.set, process)
        main = self.loop.create_task(live(), context=context)
        process.tasks.append(main)
        return process, main

    def spawn(self, name: str) -> Process:
        """Starts a worker process; it is started anew a while after it dies."""
        process, main = self._start(name, lambda process: run_worker(self, process, self.engine()))

        def ended(task: asyncio.Task[None]) -> None:
            self.processes.remove(process)
            problem = None if task.cancelled() else task.exception()
            if problem is not None and not isinstance(problem, Crashed):
                if not isinstance(problem, EXPECTED):
                    self.find(f"worker ended with {problem!r}")
                self.note(name, "ended by", type(problem).__name__)
                self.loop.kill(process)
                self.watch.note_misfortune(process)
            if not self.over:
                wait = 1.0 if self.is_calm else self.rng.choice((1.0, 20.0, 90.0))
                fresh = copy_context()
                fresh.run(PROCESS.set, None)
                self.loop.call_later(wait, self.spawn, name, context=fresh)

        main.add_done_callback(ended)
        return process

    async def run_command(self, name: str, act: Callable[[Engine], Awaitable[Any]]) -> None:
        """Runs a command in a process of its own to its end, which may be a violent one."""
        process, main = self._start(name, lambda _: act(self.engine()))
        await asyncio.wait({main})
        self.processes.remove(process)
        problem = None if main.cancelled() else main.exception()
        if problem is not None:
            self.note(name, "ended by", type(problem).__name__)
            if not isinstance(problem, EXPECTED):
                self.find(f"the command {name} ended in a bug: {problem!r}")
            self.loop.kill(process)

    def tick_gap(self) -> float:
        """Seconds until a process's schedule ticks again: rarely while nothing is due."""
        if not self.is_calm:
            return self.rng.uniform(20.0, 90.0)
        self.home.tell_owner(self.timestamp())
        due = self.home.rows(
            "select extract(epoch from min(t) - jobsync.now())::float as s from (select greatest(next_attempt_at, lease_until) t from jobsync.outbox"
            " union all select check_at from jobsync.verifications union all select next_pull_at from jobsync.tenants where next_pull_at < 'infinity') x"
        )[0]["s"]
        return max(10.0, min(due if due is not None else 600.0, 40_000.0) + 1)

    # --- the run

    def run(self) -> list[str]:
        """The whole life of this world. Answers the broken promises."""
        self.over = False
        self.home.world = self
        self._build_upstreams()
        self.watch = Watch(self)
        self.home.tell_owner(self.timestamp())
        self.home.reset(self.seed)
        with ExitStack() as stack:
            self._put_in_place(stack)
            asyncio.set_event_loop(self.loop)
            try:
                self.loop.run_until_complete(self._live())
            except AssertionError as stuck:
                self.find(f"I8 {stuck}")
            finally:
                self._end()
        return self.findings

    def _put_in_place(self, stack: ExitStack) -> None:
        def open_session(*_: Any, **__: Any) -> Session:
            return Session(self)

        for target, name, value in (
            ("jobsync.servicetitan.client", "open_session", open_session),
            ("jobsync.engine.hook_sender", "make_session", open_session),
            ("jobsync.engine.ghl_connection", "make_session", open_session),
        ):
            stack.enter_context(mock.patch(f"{target}.{name}", value))
        stack.enter_context(mock.patch.object(pull, "Random", lambda: self.rng))
        stack.enter_context(mock.patch.object(pull, "PAGE_SIZES", self.profile.page_sizes))
        stack.enter_context(mock.patch.object(access_tokens, "LOOK_EVERY", 3.0))
        stack.enter_context(mock.patch.object(lookup, "LIMIT", 3))
        for module in (claims, deliver):
            stack.enter_context(mock.patch.object(module, "GROUP", self.profile.group))
        keep_allowed: Any = allow
        structlog.configure(
            processors=[structlog.processors.add_log_level, keep_allowed, structlog.processors.JSONRenderer()],
            logger_factory=structlog.PrintLoggerFactory(file=self.logs),
            cache_logger_on_first_use=False,
        )
        stack.callback(structlog.reset_defaults)

    async def _live(self) -> None:
        await self._set_up()
        for number in range(self.profile.workers):
            self.spawn(f"w{number}")
        people = asyncio.ensure_future(live_as_people(self))
        operators = asyncio.ensure_future(operate(self))
        carers = asyncio.ensure_future(look_after(self))
        await asyncio.sleep(self.profile.trouble_seconds)
        await asyncio.gather(people, operators, carers)
        await self._calm_down()

    async def _set_up(self) -> None:
        operator = self.engine()
        await initialise_tenant(operator, "default")
        rest = "'" + "','".join(self.profile.resting) + "'"
        for tenant in self.tenants:
            self.home.run(
                f"insert into jobsync.cursors (tenant_id, stream, next_read_at) select '{tenant}', s, '2100-01-01' from unnest(array[{rest}]) s"
            )
        if len(self.tenants) > 1:
            await self._connect_other(operator)
        # Who routes to a pipeline looks at GoHighLevel first; that day everything works.
        faults, self.faults = self.faults, Faults(self.rng, 0.0) if self.profile.by_api else self.faults
        for tenant in self.tenants:
            await route_units(self, operator, tenant)
        self.faults = faults

    async def _connect_other(self, operator: Engine) -> None:
        from jobsync.engine.connections import ServiceTitanCredentials, store_servicetitan_credentials

        account = self.account("other")
        credentials = ServiceTitanCredentials(
            str(account.tenant),
            account.client_id,
            account.client_secret,
            account.app_key,
            api_url=TITAN,
            auth_url=TITAN,
        )
        await store_servicetitan_credentials(operator, "other", credentials)
        self.home.run(
            "update jobsync.tenants set mode = 'live', mode_set_at = jobsync.now(), deliver_from = '2000-01-01', cap_hour = 0, cap_day = 0 where tenant_id = 'other'"
        )

    async def _calm_down(self) -> None:
        self.is_calm = True
        self.note("CALM")
        self.faults.calm()
        self.titan.faults.waiting = [fault for fault in self.titan.faults.waiting if fault.count is None]
        for process in self.processes:
            process.stalled_until = 0.0
        if self.home.rows("select 1 as refused from jobsync.upstream_states where state <> 'ok'"):
            # Who was refused at the door asks again a quarter of an hour later.
            await asyncio.sleep(1000.0)
        # Late rows become visible, two polls go by.
        for _ in range(2):
            await asyncio.sleep(340.0)
        # A process may stand in the middle of a transaction that holds this row: it goes on only while the checker waits.
        while not self.home.try_run("update jobsync.tenants set next_pull_at = 'infinity'"):
            await asyncio.sleep(1.0)
        for _ in range(40):
            self.home.tell_owner(self.timestamp())
            left = self.home.rows(
                "select count(*) as n, extract(epoch from max(greatest(next_attempt_at, lease_until)) - jobsync.now())::float as s from jobsync.outbox"
            )[0]
            if left["n"] == 0 and not self.queue.tasks:
                break
            await asyncio.sleep(max(30.0, (left["s"] or 0.0) + 45.0))
        # Runs of dead processes are closed as abandoned half an hour after.
        await asyncio.sleep(2400.0)
        self.home.tell_owner(self.timestamp())
        check_cursors(self)
        check_at_rest(self)

    def _end(self) -> None:
        self.over = True
        for process in list(self.processes):
            self.loop.kill(process)
        self.loop.grant_steps(STEPS_TO_END)
        # What is broken off may begin something for its end (a shielded booking), which has to be broken off, too.
        for _ in range(MOST_ENDINGS):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            try:
                self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            except BaseException as error:
                self.note("end", type(error).__name__)
        self.loop.close()
        asyncio.set_event_loop(None)
        text = self.logs.getvalue()
        for canary in (
            SECRET,
            "webhook-trigger",
            "55501",
            "titan.test/",
            *(place.token for place in self.places.values()),
        ):
            if canary in text:
                self.find(f"I7 a log line holds {canary}")
