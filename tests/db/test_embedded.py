"""The embedded PostgreSQL: started, shared, killed and found again. Every test runs the real programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from jobsync.db.embedded import EmbeddedServer, start_embedded
from jobsync.db.embedded_home import SHARED_ROOT
from jobsync.db.embedded_locks import is_held
from jobsync.errors import ConfigError, DatabaseUnavailable, InvalidInput
from tests.db.folders import open_folder

pytestmark = pytest.mark.anyio
CHECKOUT = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def used_dir() -> Iterator[Path]:
    """A data dir that every test of this file may use again: only its first start makes a cluster."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def new_dir() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


class OtherProcess:
    """One `tests.db.embedded_user`; `told` is the line that it printed when it was in."""

    def __init__(self, process: Process, told: dict[str, Any]) -> None:
        self.process = process
        self.told = told

    async def leave(self) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        assert await self.process.wait() == 0

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def other_process(data_dir: Path, *, before: tuple[str, ...] = (), **options: Any) -> AsyncIterator[OtherProcess]:
    command = [*before, sys.executable, "-m", "tests.db.embedded_user", str(data_dir)]
    options = {"start_new_session": True, "cwd": CHECKOUT, **options}
    async with await anyio.open_process(command, stderr=None, **options) as process:
        try:
            assert process.stdout is not None
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 10_000)
            yield OtherProcess(process, json.loads(line))
        finally:
            if process.returncode is None:
                process.kill()


async def ask(dsn: str, query: str) -> Any:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    return row[0] if row else None


async def write(dsn: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(statement.encode())


async def until_gone(server: EmbeddedServer) -> None:
    with anyio.fail_after(20):
        while server.is_alive():
            await anyio.sleep(0.01)


async def test_a_fresh_folder_becomes_a_server_for_an_owner_that_is_no_superuser(new_dir: Path) -> None:
    async with await start_embedded(new_dir / ".jobsync", database="jobsync_live") as server:
        dsn = server.dsn()
        assert server.was_started
        assert server.note is None
        assert await ask(dsn, "select current_user || ' ' || current_database()") == "jobsync_owner jobsync_live"
        assert await ask(dsn, "show search_path") == "public"
        assert await ask(dsn, "show server_encoding") == "UTF8"
        assert await ask(dsn, "select upper('żółw') || lower('ÄÖ')") == "ŻÓŁWäö"
        assert await ask(dsn, "select rolsuper from pg_roles where rolname = current_user") is False
        await write(dsn, "create role probe nologin; grant probe to current_user; set local role probe; reset role")
        await write(dsn, "create table public.mine (id int)")
    assert not server.is_alive()


async def test_psql_takes_the_connection_string(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        answer = await anyio.run_process([str(server.psql_path), "-X", server.dsn(), "-tAc", "select 40 + 2"])
    assert answer.stdout == b"42\n"


async def test_nobody_gets_in_without_the_password_and_it_is_kept_private(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            await ask(f"postgresql://postgres@127.0.0.1:{server.port}/postgres", "select 1")
        for name in ("owner.password", "superuser.password"):
            assert stat.S_IMODE((server.home.path / name).stat().st_mode) == 0o600


async def test_postgresql_never_runs_as_root(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        owner = server.home.cluster.stat().st_uid
        assert owner != 0
        assert server.pid is not None
        if Path("/proc/self").exists():
            assert Path(f"/proc/{server.pid}").stat().st_uid == owner


async def test_the_last_one_to_leave_stops_the_server(used_dir: Path) -> None:
    first = await start_embedded(used_dir)
    second = await start_embedded(used_dir)
    assert (first.was_started, second.was_started) == (True, False)
    assert first.pid == second.pid
    await first.stop()
    await first.stop()
    assert await ask(second.dsn(), "select 1") == 1
    await second.stop()
    assert not second.is_alive()
    assert second.pid is None


async def test_a_server_outlives_the_process_that_started_it_while_another_uses_it(used_dir: Path) -> None:
    async with other_process(used_dir) as starter:
        async with await start_embedded(used_dir) as server:
            assert starter.told["was_started"]
            assert not server.was_started
            await starter.leave()
            assert await ask(server.dsn(), "select 1") == 1
        assert not server.is_alive()


async def test_two_that_start_at_once_share_one_server(new_dir: Path) -> None:
    both_in, told = anyio.Event(), []

    async def use() -> None:
        async with other_process(new_dir) as user:
            told.append(user.told)
            if len(told) == 2:
                both_in.set()
            await both_in.wait()
            await user.leave()

    async with anyio.create_task_group() as group:
        group.start_soon(use)
        group.start_soon(use)
    assert told[0]["server"] == told[1]["server"]
    assert sorted(one["was_started"] for one in told) == [False, True]


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(used_dir: Path) -> None:
    async with other_process(used_dir) as starter:
        server_pid = starter.told["server"]
        assert os.getpgid(server_pid) != os.getpgid(starter.process.pid)
        assert os.getsid(server_pid) != os.getsid(starter.process.pid)
        os.killpg(starter.process.pid, signal.SIGINT)
        await starter.process.wait()
        async with await start_embedded(used_dir) as server:
            assert server.pid == server_pid or server.was_started


async def test_a_server_left_over_by_a_killed_process_is_joined_and_then_stopped(used_dir: Path) -> None:
    async with other_process(used_dir) as starter:
        await write(starter.told["dsn"], "create table kept_one as select 7 as id")
        await starter.kill()
        server = await start_embedded(used_dir)
        assert server.pid == starter.told["server"]
        assert not server.was_started
        assert await ask(server.dsn(), "select id from kept_one") == 7
        await server.stop()
        assert not server.is_alive()


async def test_committed_rows_survive_kill_9_of_everything(used_dir: Path) -> None:
    async with other_process(used_dir) as starter:
        await write(starter.told["dsn"], "create table kept_all as select generate_series(1, 1000) as id")
        await starter.kill()
        os.kill(starter.told["server"], signal.SIGKILL)
        async with await start_embedded(used_dir) as server:
            assert server.was_started
            assert server.port == starter.told["port"]
            assert await ask(server.dsn(), "select count(*) from kept_all") == 1000


@pytest.mark.skipif(not AS_ROOT or shutil.which("unshare") is None, reason="makes a network of its own")
async def test_a_server_left_over_in_a_network_that_is_gone_is_replaced_unless_it_is_used(used_dir: Path) -> None:
    within = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    if (await anyio.run_process([*within, "true"], check=False)).returncode != 0:
        pytest.skip("no right here to make a network")
    async with other_process(used_dir, before=within) as far:
        with pytest.raises(DatabaseUnavailable, match="does not answer this process"):
            await start_embedded(used_dir, timeout=1)
        await far.kill()
    async with await start_embedded(used_dir, timeout=5) as server:
        assert server.was_started
        assert server.pid != far.told["server"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds the children in /proc")
async def test_a_start_waits_for_the_last_children_of_a_killed_server(used_dir: Path) -> None:
    async with other_process(used_dir) as starter:
        main, started = starter.told["server"], list[EmbeddedServer]()
        listed = (await anyio.run_process(["ps", "-A", "-o", "pid=,ppid="])).stdout.decode().splitlines()
        child = next(int(pid) for pid, parent in map(str.split, listed) if int(parent) == main)
        await starter.kill()
        os.kill(child, signal.SIGSTOP)
        os.kill(main, signal.SIGKILL)

        async def start() -> None:
            started.append(await start_embedded(used_dir))

        async with anyio.create_task_group() as group:
            group.start_soon(start)
            with anyio.fail_after(5):
                while not is_held(Path(starter.told["home"]) / "start.lock"):
                    await anyio.lowlevel.checkpoint()
            os.kill(child, signal.SIGKILL)
        assert started[0].was_started
        await started[0].stop()


async def test_a_server_that_died_under_its_user_is_started_again_on_its_port(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        assert not await server.ensure_running()
        port, pid = server.port, server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until_gone(server)
        assert await server.ensure_running()
        assert server.port == port
        assert await ask(server.dsn(), "select 1") == 1


async def test_a_pid_file_that_names_a_foreign_process_does_not_keep_the_server_down(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        text = (server.home.cluster / "postmaster.pid").read_text()
    bystander = await anyio.open_process(["sleep", "60"])
    if AS_ROOT:  # PostgreSQL only minds a process of its own user
        bystander.kill()
        await bystander.wait()
        owner = server.home.cluster.stat()
        bystander = await anyio.open_process(["sleep", "60"], user=owner.st_uid, group=owner.st_gid, extra_groups=[])
    try:
        stale = text.splitlines(keepends=True)
        stale[0] = f"{bystander.pid}\n"
        (server.home.cluster / "postmaster.pid").write_text("".join(stale))
        (server.home.path / "socket" / f".s.PGSQL.{server.port}.lock").write_text("".join(stale[:5]))
        async with await start_embedded(used_dir) as again:
            assert again.was_started
    finally:
        bystander.kill()
        await bystander.aclose()


async def test_a_taken_port_is_replaced_and_a_free_one_kept(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        async with await start_embedded(used_dir) as server:
            assert server.port != port
            moved = server.port
    async with await start_embedded(used_dir) as server:
        assert server.port == moved


async def test_what_a_killed_initdb_left_behind_is_swept_away(new_dir: Path) -> None:
    (new_dir / "postgres" / "cluster.new").mkdir(parents=True)
    (new_dir / "postgres" / "cluster.new" / "PG_VERSION").write_text("18\n")
    async with await start_embedded(new_dir) as server:
        assert await ask(server.dsn(), "select 1") == 1


async def test_a_long_path_with_spaces_and_commas_works(new_dir: Path) -> None:
    odd = new_dir / "a b, c" / ("d" * 90)
    odd.mkdir(parents=True)
    async with await start_embedded(odd) as server:
        running = (server.home.cluster / "postmaster.pid").read_text().splitlines()
        sockets = Path(running[4])
        assert len(os.fsencode(sockets / ".s.PGSQL.65535")) < 100
        assert await ask(f"{server.dsn()}&host={sockets}", "select inet_server_addr()") is None
    assert not sockets.exists()


async def test_a_database_is_made_once_listed_and_dropped_under_a_plain_name(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        assert await server.ensure_database("jobsync_demo")
        assert not await server.ensure_database("jobsync_demo")
        assert {"jobsync_demo", "jobsync_live"} <= set(await server.list_databases())
        assert "postgres" not in await server.list_databases()
        assert await ask(server.dsn("jobsync_demo"), "select current_database()") == "jobsync_demo"
        assert await server.drop_database("jobsync_demo")
        assert not await server.drop_database("jobsync_demo")
        assert not await server.drop_database("postgres")
        with pytest.raises(InvalidInput, match="no name for a database"):
            await server.ensure_database('x"; drop database jobsync_live; --')


async def test_the_log_holds_no_row_content(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        with pytest.raises(psycopg.errors.UniqueViolation):
            await write(
                server.dsn(),
                "create table people (email text primary key); insert into people values ('jo@example.com');"
                "insert into people values ('jo@example.com')",
            )
        log = server.home.log.read_text()
    assert "duplicate key value" in log
    assert "example.com" not in log


async def test_a_lost_owner_password_is_made_anew(used_dir: Path) -> None:
    async with await start_embedded(used_dir) as server:
        (server.home.path / "owner.password").unlink()
    async with await start_embedded(used_dir) as server:
        assert await ask(server.dsn(), "select current_user") == "jobsync_owner"


async def test_a_lost_superuser_password_is_one_sentence(new_dir: Path) -> None:
    async with await start_embedded(new_dir) as server:
        (server.home.path / "superuser.password").unlink()
    with pytest.raises(ConfigError, match="refuses the password kept in superuser.password") as told:
        await start_embedded(new_dir)
    assert told.value.hint
    assert not server.is_alive()


async def test_a_data_dir_that_cannot_be_made_is_one_sentence(new_dir: Path) -> None:
    (new_dir / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot use .*: Not a directory") as told:
        await start_embedded(new_dir / "file" / "data")
    assert "JOBSYNC_DATA_DIR" in (told.value.hint or "")


async def test_data_of_another_major_version_is_one_sentence(new_dir: Path) -> None:
    cluster = new_dir / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("14\n")
    with pytest.raises(ConfigError, match="was made by PostgreSQL 14, and the programs are"):
        await start_embedded(new_dir)


async def test_a_folder_without_programs_is_one_sentence(new_dir: Path) -> None:
    with pytest.raises(ConfigError, match="lacks the PostgreSQL program postgres"):
        await start_embedded(new_dir, binaries=new_dir)


async def test_a_server_parameter_that_postgresql_refuses_is_told_in_its_words(used_dir: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match='did not start: .*"no_such_setting"'):
        await start_embedded(used_dir, settings={"no_such_setting": "1"})


async def test_the_systems_own_postgresql_serves_as_well(new_dir: Path) -> None:
    found = [path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin")) if int(path.parent.name) >= 15]
    if not found:
        pytest.skip("no system PostgreSQL of version 15 or newer")
    async with await start_embedded(new_dir, binaries=found[0]) as server:
        assert server.bin_dir == found[0].resolve()
        assert await ask(server.dsn(), "select current_user || upper('ä')") == "jobsync_ownerÄ"


@pytest.mark.skipif(not AS_ROOT, reason="only root has another user to run PostgreSQL as")
async def test_a_checkout_under_a_closed_home_keeps_its_data_in_the_shared_place(new_dir: Path) -> None:
    closed = new_dir / "home"
    closed.mkdir(mode=0o700)
    moved = None
    try:
        async with await start_embedded(closed / "checkout" / ".jobsync") as server:
            moved = server.home.path
            assert moved.parent == SHARED_ROOT
            assert server.note is not None
            assert str(moved) in server.note
            await write(server.dsn(), "create table kept as select 1 as id")
        async with await start_embedded(closed / "checkout" / ".jobsync") as server:
            assert server.home.path == moved
            assert await ask(server.dsn(), "select id from kept") == 1
    finally:
        if moved is not None:
            shutil.rmtree(moved)


@pytest.mark.skipif(not AS_ROOT, reason="the other tests already run as an ordinary user")
async def test_an_ordinary_user_has_a_server_of_their_own(new_dir: Path) -> None:
    before, options = as_nobody()
    mine = new_dir / "mine"
    mine.mkdir()
    shutil.chown(mine, "nobody")
    async with other_process(mine, before=before, **options) as ordinary:
        assert ordinary.told["uid"] != 0
        assert ordinary.told["was_started"]
        assert stat.S_IMODE(Path(ordinary.told["home"]).stat().st_mode) == 0o700
        async with await start_embedded(mine) as server:  # root joins it, and leaves no file behind that is root's
            assert server.pid == ordinary.told["server"]
        assert {path.stat().st_uid for path in server.home.path.rglob("*")} == {ordinary.told["uid"]}
        await ordinary.leave()
    async with await start_embedded(mine) as server:  # root starts it as its owner, not as root
        assert server.was_started
        assert server.home.run_as is not None
        assert server.home.run_as.uid == ordinary.told["uid"]
    async with other_process(mine, before=before, **options) as ordinary:
        assert ordinary.told["was_started"]
        await ordinary.leave()


@pytest.mark.skipif(not AS_ROOT, reason="needs two users")
async def test_an_ordinary_user_is_told_whose_the_data_is(used_dir: Path) -> None:
    before, options = as_nobody()
    async with await start_embedded(used_dir):
        pass
    async with other_process(used_dir, before=before, **options) as ordinary:
        assert ordinary.told["error"] == "ConfigError"
        assert "belongs to user root, and you are nobody" in ordinary.told["message"]


def as_nobody() -> tuple[tuple[str, ...], dict[str, Any]]:
    """How to run this Python as `nobody`: a command before it, or options for the process."""
    plain: dict[str, Any] = {"user": "nobody", "group": os.stat("/").st_gid, "extra_groups": []}
    reading = (
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    )  # a Python in a folder that only root reads
    wrapped = ("setpriv", "--reuid=nobody", "--clear-groups", *reading)
    for before, options in (((), plain), (wrapped, {})):
        try:
            command = [*before, sys.executable, "-c", "import psycopg, jobsync"]
            if subprocess.run(command, cwd=CHECKOUT, capture_output=True, **options).returncode == 0:
                return before, options
        except OSError:
            continue
    pytest.skip("no way here to run this Python as another user")
