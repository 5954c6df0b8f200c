"""One demo and one chromium for all browser tests of a test run's worker."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import Chromium, find_chromium

NO_CHROMIUM = "there is no chromium (see requirements/browser)"
LAST_LINE = "Ctrl-C"


@dataclass(frozen=True)
class Demo:
    """A running `jobsync demo`: its address, the link it printed, its simulators, its folder and all that it said."""

    url: str
    link: str
    titan_url: str
    level_url: str
    folder: Path
    said: str

    def call(self, method: str, url: str, body: Any = None) -> Any:
        """Calls the service (a path) or a simulator's control (a whole URL) with JSON."""
        request = urllib.request.Request(
            url if url.startswith("http") else self.url + url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def jobsync(self, *words: str) -> str:
        """Runs another command of the program on the demo's data; its output."""
        return subprocess.run(
            _command(*words), cwd=self.folder, env=_environment(self.folder), check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser. Where there is none the tests are skipped, but fail where CI=true."""
    executable = find_chromium()
    if executable is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NO_CHROMIUM)
        pytest.skip(NO_CHROMIUM)
    opened = Chromium(executable)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """The demo that most browser tests share."""
    with open_demo() as opened:
        yield opened


@contextmanager
def open_demo() -> Iterator[Demo]:
    """The demo as a newcomer starts it, in an empty folder, on free ports."""
    folder = Path(tempfile.mkdtemp(prefix="jobsync-browser-"))
    # Any user may enter, so that its PostgreSQL stands in it also where the tests run as root.
    folder.chmod(0o755)
    process = subprocess.Popen(
        _command("demo", "--port", "0"),
        cwd=folder,
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield _read_demo(process, folder)
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        for pid in folder.glob(".jobsync/postgres/cluster/postmaster.pid"):
            with suppress(ProcessLookupError, ValueError, IndexError):
                os.kill(int(pid.read_text().split()[0]), signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


def _read_demo(process: subprocess.Popen[str], folder: Path) -> Demo:
    assert process.stdout is not None
    said: list[str] = []
    guard = threading.Timer(100, process.kill)
    guard.start()
    try:
        for line in process.stdout:
            said.append(line)
            if LAST_LINE in line:
                break
    finally:
        guard.cancel()
    text = "".join(said)
    opened = re.search(r"Open\s+(http://127\.0\.0\.1:\d+)(/\S*)", text)
    simulators = re.findall(r"simulator on (127\.0\.0\.1:\d+)", text)
    assert opened is not None and len(simulators) == 2, text
    # What it says from now on is read too, or a full pipe would stop it.
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return Demo(opened[1], opened[1] + opened[2], f"http://{simulators[0]}", f"http://{simulators[1]}", folder, text)


def _command(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "jobsync"), *words]


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "PYTHONUTF8": "1"}
