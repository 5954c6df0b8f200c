"""What stands in deploy/ is what the docs say: the guide's names, one open port, an ordinary user; and its steps work."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobsync.config import variable_names

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
UNITS = ("jobsync.service", "jobsync-web.service", "jobsync-worker@.service")


def read_compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def read_steps() -> list[tuple[str, str]]:
    """The instructions of the image's file, lines that go on put together."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Containerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines]


def test_compose_keeps_the_guides_names_and_opens_one_port_on_this_machine_only() -> None:
    compose = read_compose()
    assert set(compose["services"]) == {"servicetitan-api", "postgres"}
    api, postgres = compose["services"]["servicetitan-api"], compose["services"]["postgres"]
    assert api["ports"] == ["127.0.0.1:3001:3001"]
    assert "ports" not in postgres
    assert postgres["environment"]["POSTGRES_DB"] == "perfectcatch_automation"
    assert api["environment"]["DATABASE_URL"].endswith("@postgres:5432/perfectcatch_automation")
    assert api["read_only"] is True and api["cap_drop"] == ["ALL"]
    assert {name for name in api["environment"] if name not in variable_names()} == set()


def test_passwords_are_asked_for_and_never_have_a_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    for name in ("POSTGRES_PASSWORD", "JOBSYNC_DB_PASSWORD"):
        assert re.findall(rf"\$\{{{name}(:?[^}}]*)\}}", text)
        assert all(found.startswith(":?") for found in re.findall(rf"\$\{{{name}([^}}]*)\}}", text))


def test_the_image_runs_as_an_ordinary_user_and_the_worker_ends_by_sigterm() -> None:
    steps = dict(read_steps())
    assert steps["USER"] == "10001"
    assert steps["STOPSIGNAL"] == "SIGTERM"
    assert steps["ENTRYPOINT"] == '["jobsync"]'
    copied = {word.strip("./") for kind, words in read_steps() if kind == "COPY" for word in words.split()[:-1]}
    kept = {line[1:].strip() for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == kept


@pytest.mark.parametrize("name", UNITS)
def test_each_unit_is_well_formed_and_confined(name: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "systemd" / name).read_text())
    service = parser["Service"]
    assert service["User"] == "jobsync"
    assert service["ExecStart"].startswith("/opt/jobsync/.venv/bin/jobsync up")
    assert service["Restart"] == "always" and int(service["TimeoutStopSec"]) > 10
    assert service["NoNewPrivileges"] == "yes" and service["ProtectSystem"] == "strict"
    checker = shutil.which("systemd-analyze")
    if checker is None:
        pytest.skip("systemd-analyze is not here: the units were only read, not verified by systemd")
    said = subprocess.run(
        [checker, "verify", str(DEPLOY / "systemd" / name)], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in said.stderr.splitlines() if name in line and "not executable" not in line]
    assert complaints == []


@pytest.mark.long
def test_the_steps_of_the_image_give_a_jobsync_that_runs_from_a_read_only_folder(tmp_path: Path) -> None:
    root = tmp_path / "opt"
    root.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for kind, words in read_steps():
        if kind == "COPY":
            *sources, _ = words.split()
            for source in sources:
                place = CHECKOUT / source
                if place.is_dir():
                    shutil.copytree(place, root / place.name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(place, root)
        elif kind == "RUN":
            # Making the user is the image's own; the rest runs as it stands.
            for part in words.split("&&"):
                if "useradd" not in part and "install -d" not in part:
                    subprocess.run(part, shell=True, cwd=root, env=environment, check=True, timeout=600)
    for folder, _, files in os.walk(root / "src"):
        for file in files:
            os.chmod(Path(folder) / file, 0o444)
    ran = subprocess.run(
        [root / ".venv" / "bin" / "jobsync", "version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=60,
        check=True,
    )
    assert ran.stdout.startswith("jobsync ")
