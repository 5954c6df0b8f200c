"""The folder of the embedded PostgreSQL: where it stands, who owns it, its port and its two passwords.

<data dir>/postgres/            the home (or /var/lib/jobsync/<hash>, see `choose_home`)
    cluster/                    PostgreSQL's own data; belongs to the user that PostgreSQL runs as
    runtime/<version>/          the programs, only when PostgreSQL runs as another user than we do
    socket/                     the unix socket (elsewhere when this path would be too long for one)
    owner.password, superuser.password, port, server.log, *.lock
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jobsync.errors import ConfigError

UNPRIVILEGED_USER = "nobody"
SHARED_ROOT = Path("/var/lib/jobsync")
POINTER = "postgres.moved"
LONGEST_SOCKET_PATH = 99  # bytes; the kernels' limit is 104 to 108, PostgreSQL refuses a longer one
FIRST_PORT, PORTS = 25432, 1000  # below the range that outgoing connections take their ports from


@dataclass(frozen=True)
class RunAs:
    """The user that PostgreSQL runs as when JobSync itself is root (PostgreSQL refuses to run as root)."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True)
class Home:
    """One server's folder. `run_as` is None when PostgreSQL runs as the user that we are. `note` is for a person."""

    path: Path
    run_as: RunAs | None
    note: str | None

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data folder; it exists once `initdb` went through."""
        return self.path / "cluster"

    @property
    def log(self) -> Path:
        """What PostgreSQL writes: warnings and errors, without statements and without row values."""
        return self.path / "server.log"

    @property
    def file_owner(self) -> tuple[int, int] | None:
        """(uid, gid) for files that root makes here, so that the folder's owner can go on without root; else None."""
        if os.geteuid() != 0:
            return None
        found = self.path.stat()
        return found.st_uid, found.st_gid


def choose_home(data_dir: Path, *, user: str | None = None) -> Home:
    """Find or make the home for `data_dir` (the folder of all JobSync data, made when missing).

    An ordinary user gets `data_dir`/postgres, closed to others. Root gets the same folder with PostgreSQL run as `user`
    (default: the owner of an existing cluster, else nobody); when a parent folder is closed to that user, as under a
    home with mode 0700, the home is /var/lib/jobsync/<hash> and a pointer file in `data_dir` remembers it. Root also
    makes a `data_dir` of its own passable (mode bits x, never r). Run twice: the same answer.
    Raises ConfigError in one sentence.
    """
    with as_config_error(data_dir):
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir = data_dir.resolve()
        if os.geteuid() != 0:
            return Home(_own_folder(data_dir / "postgres"), None, None)
        return _home_for_root(data_dir, user)


def read_or_write_password(home: Home, name: str) -> tuple[str, bool]:
    """The password kept in `home`/`name`.password (mode 0600) and whether it was made now. Raises ConfigError."""
    path = home.path / f"{name}.password"
    with as_config_error(path):
        if path.exists():
            return path.read_text().strip(), False
        password = secrets.token_urlsafe(24)
        write_private(path, password + "\n", owner=home.file_owner)
        return password, True


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None) -> None:
    """Write `path` whole or not at all, mode 0600. Raises OSError."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if owner is not None:
            os.fchown(file.fileno(), *owner)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def choose_port(home: Home, *, refused: frozenset[int] = frozenset()) -> int:
    """The port to listen on: the one remembered from last time while it is free, else another free one."""
    remembered = home.path / "port"
    start = FIRST_PORT + int(hashlib.sha256(os.fsencode(home.path)).hexdigest(), 16) % PORTS
    candidates = [FIRST_PORT + (start - FIRST_PORT + step) % PORTS for step in range(PORTS)]
    if remembered.exists() and remembered.read_text().strip().isdecimal():
        candidates.insert(0, int(remembered.read_text()))
    for port in candidates:
        if 0 < port < 65536 and port not in refused and _is_free(port):
            return port
    raise ConfigError(f"No port from {FIRST_PORT} to {FIRST_PORT + PORTS - 1} is free for PostgreSQL on 127.0.0.1.")


def remember_port(home: Home, port: int) -> None:
    """Keep `port` for the next start, so that connection strings stay the same. Raises OSError."""
    write_private(home.path / "port", f"{port}\n", owner=home.file_owner)


def make_socket_folder(home: Home) -> Path:
    """An empty folder for the unix socket whose path is short enough, closed to other users. Raises OSError.

    Call it only while no server runs: a socket and its lock file that a killed server left there are removed, as the
    process number in that lock file may be another process's by now.
    """
    folder = home.path / "socket"
    if len(os.fsencode(folder / ".s.PGSQL.65535")) <= LONGEST_SOCKET_PATH:
        folder.mkdir(mode=0o700, exist_ok=True)
        _remove_sockets(folder)
    else:
        folder = Path(tempfile.mkdtemp(prefix="jobsync-", dir="/tmp"))
    if home.run_as is not None:
        os.chown(folder, home.run_as.uid, home.run_as.gid)
    return folder


def remove_socket_folder(home: Home, folder: Path) -> None:
    """Remove a socket folder that `make_socket_folder` made outside the home. Anything else is left alone."""
    if folder.parent == Path("/tmp") and folder.name.startswith("jobsync-"):
        _remove_sockets(folder)
        with suppress(OSError):  # somebody put a file there, or removed it already: nothing of ours is lost
            folder.rmdir()


@contextmanager
def as_config_error(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a ConfigError of one sentence."""
    try:
        yield
    except OSError as error:
        name = pwd_name(os.geteuid())
        raise ConfigError(
            f"JobSync (user {name}) cannot use {error.filename or path}: {error.strerror or error}.",
            hint=f"Give user {name} write access and space there, or set JOBSYNC_DATA_DIR to another folder.",
        ) from error


def pwd_name(uid: int) -> str:
    """The login name of `uid`, or the number as text where it has none (as in some containers)."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _remove_sockets(folder: Path) -> None:
    for left in folder.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)


def _own_folder(path: Path) -> Path:
    path.mkdir(mode=0o700, exist_ok=True)
    owner = path.stat().st_uid
    if owner != os.geteuid():
        name = pwd_name(owner)
        raise ConfigError(
            f"The PostgreSQL data in {path} belongs to user {name}, and you are {pwd_name(os.geteuid())}.",
            hint=f"Run JobSync as {name}, or set JOBSYNC_DATA_DIR to a folder of your own.",
        )
    return path


def _home_for_root(data_dir: Path, user: str | None) -> Home:
    _make_passable(data_dir)
    pointer = data_dir / POINTER
    if pointer.exists():
        path = Path(pointer.read_text().strip())
        path.mkdir(mode=0o711, parents=True, exist_ok=True)
        run_as = _run_as(path, user)
        return Home(path, run_as, _moved_note(data_dir, path))
    path = data_dir / "postgres"
    path.mkdir(mode=0o711, exist_ok=True)
    run_as = _run_as(path, user)
    _make_passable(path)
    closed = _first_closed(path, run_as)
    if closed is None:
        return Home(path, run_as, None)
    if (path / "cluster").exists():
        raise ConfigError(
            f"PostgreSQL runs as user {run_as.name}, and the folder {closed} on the way to its data is closed to it.",
            hint=f"Open it again with: chmod a+x '{closed}'",
        )
    token = hashlib.sha256(os.fsencode(path) + secrets.token_bytes(16)).hexdigest()[:12]
    moved = SHARED_ROOT / token
    moved.mkdir(mode=0o711, parents=True)
    SHARED_ROOT.chmod(0o755)
    write_private(pointer, f"{moved}\n", owner=None)
    path.rmdir()
    return Home(moved, run_as, _moved_note(data_dir, moved))


def _make_passable(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o111 != 0o111:
        os.chmod(folder, stat.S_IMODE(found.st_mode) | 0o111)


def _moved_note(data_dir: Path, path: Path) -> str:
    return (
        f"PostgreSQL keeps its data in {path}, since it does not run as root and {data_dir} is closed to other users."
    )


def _run_as(home: Path, user: str | None) -> RunAs:
    cluster = home / "cluster"
    try:
        if user is None and cluster.exists():
            owner = cluster.stat()
            if owner.st_uid != 0:
                return RunAs(owner.st_uid, owner.st_gid, pwd_name(owner.st_uid))
        entry = pwd.getpwnam(user or UNPRIVILEGED_USER)
    except KeyError:
        raise ConfigError(
            f"PostgreSQL does not run as root, and this machine has no user {user or UNPRIVILEGED_USER} to run it as.",
            hint="Run JobSync as an ordinary user, or set DATABASE_URL.",
        ) from None
    if entry.pw_uid == 0:
        raise ConfigError("PostgreSQL does not run as root.", hint="Name an unprivileged user for it.")
    return RunAs(entry.pw_uid, entry.pw_gid, entry.pw_name)


def _first_closed(path: Path, run_as: RunAs) -> Path | None:
    # Mode bits only: an access list that would open the way is not seen, and then the shared place is used instead.
    for folder in [*reversed(path.parents), path]:
        found = folder.stat()
        if found.st_uid == run_as.uid:
            needed = stat.S_IXUSR
        elif found.st_gid == run_as.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not found.st_mode & needed:
            return folder
    return None


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
