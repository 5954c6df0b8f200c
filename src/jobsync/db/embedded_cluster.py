"""PostgreSQL's processes: make the cluster, start the server, know whether it lives, stop it.

The server is nobody's child: a shell starts it in a session of its own and ends at once. So Ctrl-C and a closed
terminal do not reach it, it outlives the process that started it, and every process stops it in the same way. Whether
it lives is told by server.lock, which its processes inherit (embedded_locks.py); its pid, port and state by its own
postmaster.pid.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from jobsync.db.embedded_home import (
    Home,
    as_config_error,
    choose_port,
    make_socket_folder,
    remember_port,
    remove_socket_folder,
    write_private,
)
from jobsync.db.embedded_locks import POLL_SECONDS, FileLock, is_held
from jobsync.db.embedded_runtime import Runtime
from jobsync.errors import ConfigError, DatabaseUnavailable

SUPERUSER, SUPERUSER_FILE = "postgres", "superuser"
LARGEST_LOG = 1_000_000  # bytes; a larger one is put aside at the next start
START_TRIES = 5
HOST = "127.0.0.1"
LAST_BACKEND_SECONDS = 10.0  # children of a killed server end by themselves, at the next thing they do
UNANSWERED_SECONDS = 10.0
_SSL_REQUEST = struct.pack("!II", 8, 80877103)  # the one question that is answered without a login
UNREACHABLE = "server_unreachable"
FAST_STOP_SECONDS, HARD_STOP_SECONDS = 60.0, 15.0

TUNING: Mapping[str, str] = {
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "1",
    "jit": "off",  # costs more than it gives on queries this small
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    # The log must never hold a row's content: no statements, no DETAIL lines.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
    "logging_collector": "off",
    "tcp_keepalives_idle": "60",
}


@dataclass(frozen=True)
class Running:
    """What postmaster.pid says of a server. `ready` is False while it starts, recovers or stops."""

    pid: int
    port: int
    socket_folder: Path
    ready: bool


def lock_path(home: Home) -> Path:
    """The lock that the server's processes hold while they live."""
    return home.path / "server.lock"


def is_alive(home: Home) -> bool:
    """True while any PostgreSQL process of this home lives, whoever started it."""
    return is_held(lock_path(home))


def read_running(home: Home) -> Running | None:
    """The state written in postmaster.pid; None when there is no such file or it is not whole yet."""
    try:
        lines = (home.cluster / "postmaster.pid").read_text().splitlines()
        return Running(int(lines[0]), int(lines[3]), Path(lines[4]), lines[7].strip() == "ready")
    except (OSError, ValueError, IndexError):
        return None


async def make_cluster(home: Home, runtime: Runtime, password: str) -> None:
    """Run initdb unless the cluster is there. UTF-8 with the C.UTF-8 locale, scram passwords for socket and loopback.

    It works in a folder of its own and renames it at the end: a run that was killed leaves nothing half-made behind.
    Raises ConfigError when the cluster is another major version's or initdb cannot work here.
    """
    if home.cluster.exists():
        made_by = (home.cluster / "PG_VERSION").read_text().strip()
        if made_by != str(runtime.major):
            raise ConfigError(
                f"The data in {home.cluster} was made by PostgreSQL {made_by}, and the programs are {runtime.major}.",
                hint=f"Use PostgreSQL {made_by} programs, or move the data over with pg_dump.",
            )
        return
    new, pwfile = home.path / "cluster.new", home.path / "initdb.password"
    with as_config_error(home.path):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        owner = (home.run_as.uid, home.run_as.gid) if home.run_as else None
        if owner:
            os.chown(new, *owner)
        write_private(pwfile, password + "\n", owner=owner)
    command = [str(runtime.program("initdb")), "-D", str(new), "-U", SUPERUSER, f"--pwfile={pwfile}"]
    command += ["--auth=scram-sha-256", "--encoding=UTF8"]
    if runtime.major >= 17:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        for locale in ("C.UTF-8", "C"):  # not every C library knows C.UTF-8
            answer = await _run(home, [*command, f"--locale={locale}"])
            if answer.returncode == 0:
                break
        else:
            raise ConfigError(f"PostgreSQL could not make its data folder in {home.path}: {_last_line(answer.stderr)}")
        with as_config_error(home.path):
            new.rename(home.cluster)
    finally:
        pwfile.unlink(missing_ok=True)


async def start_server(home: Home, runtime: Runtime, settings: Mapping[str, str], *, timeout: float) -> Running:
    """Start a server that surely does not run (the caller holds start.lock) and wait until it takes connections.

    `settings` are PostgreSQL parameters on top of TUNING. A port that is taken is replaced by another one. Raises
    DatabaseUnavailable with PostgreSQL's own last sentence when it does not come up within `timeout` seconds.
    """
    refused: set[int] = set()
    reason = ""
    for _ in range(START_TRIES):
        _clear_stale_pid_file(home)
        with as_config_error(home.path):
            port = choose_port(home, refused=frozenset(refused))
            log_start = await _launch(home, runtime, {**TUNING, **settings}, port)
        if (running := await _wait_until_ready(home, timeout=timeout)) is not None:
            with as_config_error(home.path):
                remember_port(home, running.port)
            return running
        reason = _why_not(home, log_start)
        if "could not create any TCP/IP sockets" in reason:
            refused.add(port)
        elif "shared memory block" in reason:
            await anyio.sleep(0.2)  # backends of a killed server are on their way out
        else:
            break
    raise DatabaseUnavailable(f"PostgreSQL did not start: {reason}", hint=f"Its log is {home.log}")


async def wait_for_server(home: Home, *, timeout: float) -> Running | None:
    """Wait until the living server takes connections; None when it ended meanwhile. Raises DatabaseUnavailable."""
    return await _wait_until_ready(home, timeout=timeout)


async def stop_server(home: Home) -> None:
    """Stop the server: clients are cut off, data is flushed. Returns when none of its processes lives; harmless twice.

    Raises DatabaseUnavailable when it does not end, or is not a process that we may signal.
    """
    running = read_running(home)
    for how, seconds in ((signal.SIGINT, FAST_STOP_SECONDS), (signal.SIGQUIT, HARD_STOP_SECONDS)):
        if not is_alive(home):
            break
        is_ours = running is not None and _is_postmaster(running.pid, home)
        if running is not None and is_ours:
            with suppress(ProcessLookupError):
                os.kill(running.pid, how)
        # Without a main process of ours (killed, or in another container) only its children can be waited for.
        with anyio.move_on_after(seconds if is_ours else LAST_BACKEND_SECONDS):
            while is_alive(home):
                await anyio.sleep(POLL_SECONDS)
    if is_alive(home):
        raise DatabaseUnavailable(f"PostgreSQL in {home.path} did not stop.", hint=f"Its log is {home.log}")
    if running is not None:
        remove_socket_folder(home, running.socket_folder)


async def _launch(home: Home, runtime: Runtime, settings: Mapping[str, str], port: int) -> int:
    sockets = make_socket_folder(home)
    parameters = {
        **settings,
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        "unix_socket_permissions": "0700",
    }
    if home.log.exists() and home.log.stat().st_size > LARGEST_LOG:
        home.log.replace(home.log.with_suffix(".log.1"))
    command = [str(runtime.program("postgres")), "-D", str(home.cluster)]
    for name, value in parameters.items():
        command += ["-c", f"{name}={value}"]
    lock = FileLock(lock_path(home), owner=home.file_owner)
    try:
        with anyio.move_on_after(LAST_BACKEND_SECONDS):  # one who looks at the lock holds it for an instant
            while not lock.take():
                await anyio.sleep(POLL_SECONDS)
        if not lock.take():
            raise DatabaseUnavailable(f"PostgreSQL in {home.path} is still ending.", hint="Try again in a moment.")
        return _spawn(home, command, lock)
    finally:
        lock.close()  # the server keeps the lock through the open file it inherited


def _spawn(home: Home, command: list[str], lock: FileLock) -> int:
    """Run `command` in the background of a shell that ends at once; where in the log its words begin."""
    with open(os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        if home.file_owner:
            os.fchown(log.fileno(), *home.file_owner)
        log_start = log.tell()
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fd],
            start_new_session=True,
            check=True,
            **_process_options(home),
        )
    return log_start


async def _wait_until_ready(home: Home, *, timeout: float) -> Running | None:
    patience = min(UNANSWERED_SECONDS, timeout / 2)
    unanswered_until = anyio.current_time() + patience
    with anyio.move_on_after(timeout):
        while is_alive(home):
            running = read_running(home)
            if running is not None and running.ready:
                # A killed server leaves the word `ready` behind while its children still end: only an answer counts.
                if await _answers(running.port):
                    return running
                if anyio.current_time() > unanswered_until:
                    raise DatabaseUnavailable(
                        f"PostgreSQL in {home.path} runs, but does not answer this process on {HOST}.",
                        hint="Another container may be using this data dir: run the command there.",
                        code=UNREACHABLE,
                    )
            else:
                unanswered_until = anyio.current_time() + patience
            await anyio.sleep(POLL_SECONDS)
        return None
    raise DatabaseUnavailable(
        f"PostgreSQL in {home.path} was not ready within {timeout:.0f} s.",
        hint=f"Wait if it is recovering; its log is {home.log}",
    )


async def _answers(port: int) -> bool:
    """True when PostgreSQL says something: a port alone may still be open while a killed server's memory is freed."""
    try:
        with anyio.move_on_after(1.0):
            async with await anyio.connect_tcp(HOST, port) as stream:
                await stream.send(_SSL_REQUEST)
                return await stream.receive(1) in (b"N", b"S")
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
        pass
    return False


def _clear_stale_pid_file(home: Home) -> None:
    """Remove a pid file whose number now belongs to a foreign process: PostgreSQL would take that one for a rival.

    Nothing is removed where /proc is missing: PostgreSQL's own check then decides.
    """
    path = home.cluster / "postmaster.pid"
    try:
        pid = int(path.read_text().splitlines()[0])
        folder = Path(path.read_text().splitlines()[4])
    except (OSError, ValueError, IndexError):
        return
    if not Path("/proc/self").exists():
        return
    if Path(f"/proc/{pid}").exists() and _is_postmaster(pid, home):
        raise DatabaseUnavailable(
            f"PostgreSQL process {pid} already runs on {home.cluster}, and JobSync did not start it.",
            hint=f"Stop it with: kill -INT {pid}",
        )
    with as_config_error(path):
        path.unlink(missing_ok=True)
    remove_socket_folder(home, folder)


def _is_postmaster(pid: int, home: Home) -> bool:
    """True when `pid` works in our cluster folder, as PostgreSQL processes do (unknown, so True, without /proc)."""
    if not Path("/proc/self").exists():
        return True
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", home.cluster)
    except OSError:
        return False


def _process_options(home: Home) -> dict[str, Any]:
    kept = ("PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    options: dict[str, Any] = {"cwd": "/", "env": {name: os.environ[name] for name in kept if name in os.environ}}
    if home.run_as is not None:
        options |= {"user": home.run_as.uid, "group": home.run_as.gid, "extra_groups": []}
    return options


async def _run(home: Home, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        # In a thread: uvloop's own subprocesses cannot change the user.
        return await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **_process_options(home)
            )
        )
    except OSError as error:
        who = f" as user {home.run_as.name}" if home.run_as else ""
        raise ConfigError(
            f"JobSync cannot run {command[0]}{who}: {error.strerror}.",
            hint="Run JobSync as an ordinary user, or set DATABASE_URL to a PostgreSQL server that you have.",
        ) from error


def _why_not(home: Home, log_start: int) -> str:
    with open(home.log, "rb") as log:
        log.seek(log_start)
        return _last_line(log.read(100_000))


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    fatal = [line for line in lines if re.search(r"\b(FATAL|PANIC|error):", line, re.IGNORECASE)]
    told = (fatal or lines or ["no reason was given"])[-1]
    return re.sub(r"^.*?\b(FATAL|PANIC|error):\s*", "", told, flags=re.IGNORECASE).strip().rstrip(".") + "."
