"""The frame of the project agrees with itself: packages, locks, settings and commands."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from jobsync.config import Settings, read_settings, variable_names
from tests.house.imports import imported_modules
from tests.house.tree import CHECKOUT, read_checkout

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
LOCKS = ("build", "runtime", "dev")


def plain(requirement: str) -> str:
    """The name of a requirement, as registries compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=~!;]", requirement.strip(), maxsplit=1)[0]).lower()


def read_names(name: str) -> set[str]:
    """The packages that one file of requirements names."""
    lines = (CHECKOUT / "requirements" / name).read_text().splitlines()
    return {plain(line) for line in lines if line.strip() and not line.startswith(("#", " ", "-"))}


def read_pins(lock: str) -> dict[str, set[str]]:
    """Package -> versions of one lock (two versions where platforms differ)."""
    pins: dict[str, set[str]] = {}
    for found in re.finditer(r"^([A-Za-z0-9._-]+)==(\S+)", (CHECKOUT / f"requirements/{lock}.txt").read_text(), re.M):
        pins.setdefault(plain(found[1]), set()).add(found[2])
    return pins


def test_the_project_and_its_lock_ask_for_the_same_packages() -> None:
    assert {plain(one) for one in PROJECT["project"]["dependencies"]} == read_names("runtime.in")


def test_every_requirement_of_the_project_has_a_lower_bound_that_the_lock_meets() -> None:
    pins = read_pins("runtime")
    for requirement in PROJECT["project"]["dependencies"]:
        bound = re.search(r"[>=]=\s*([\d.]+)", requirement)
        assert bound, requirement
        wanted = tuple(int(part) for part in bound[1].rstrip(".").split("."))
        for version in pins[plain(requirement)]:
            have = tuple(int(part) for part in re.findall(r"\d+", version))
            assert have[: len(wanted)] >= wanted, requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_what_was_asked_for_with_hashes(lock: str) -> None:
    pins = read_pins(lock)
    assert read_names(f"{lock}.in") <= set(pins)
    text = (CHECKOUT / f"requirements/{lock}.txt").read_text()
    for entry in re.split(r"\n(?=\S)", text):
        assert entry.startswith("#") or "--hash=sha256:" in entry, entry


def test_the_tests_run_on_what_is_shipped() -> None:
    dev = read_pins("dev")
    for lock in ("build", "runtime"):
        for package, versions in read_pins(lock).items():
            assert dev[package] == versions, package


def test_every_package_that_is_imported_is_asked_for() -> None:
    provided = {module: {plain(one) for one in names} for module, names in metadata.packages_distributions().items()}
    asked = read_names("runtime.in")
    for file in read_checkout():
        if file.is_program:
            for line, module in imported_modules(file):
                top = module.split(".")[0]
                if top != "jobsync" and top not in sys.stdlib_module_names:
                    assert provided.get(top, set()) & asked, f"{file.path}:{line}: {top} is in no requirement"


def test_every_dependency_has_its_reason() -> None:
    page = (CHECKOUT / "docs/decisions/0002-dependencies.md").read_text()
    named = {plain(found) for found in re.findall(r"`([A-Za-z0-9_.-]+)`", page)}
    for name in ("runtime.in", "build.in", "dev.in"):
        assert read_names(name) <= named, name


def test_the_example_explains_every_setting_and_no_other() -> None:
    text = (CHECKOUT / ".env.example").read_text()
    shown = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.M)
    assert sorted(shown) == sorted(variable_names())
    lines = text.splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"#?[A-Z][A-Z0-9_]+=", line):  # several names may share one explanation
            assert re.match(r"#|[A-Z][A-Z0-9_]+=", before), f"no word of explanation before {line}"


def test_the_example_shows_the_defaults_as_they_are(tmp_path: Path) -> None:
    text = (CHECKOUT / ".env.example").read_text()
    given = dict(re.findall(r"^#([A-Z][A-Z0-9_]+)=(.+)$", text, re.M))
    unset_means_something_else = {"JOBSYNC_MODE", "JOBSYNC_DELIVER_FROM", "JOBSYNC_CAP_HOUR", "JOBSYNC_CAP_DAY"}
    shown = read_settings(environ=given, directory=tmp_path)
    for name, field in Settings.model_fields.items():
        if field.alias in given and field.alias not in unset_means_something_else:
            assert getattr(shown, name) == field.default, field.alias


def test_make_alone_lists_every_command() -> None:
    listed = subprocess.run(["make"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for target in ("help", "setup", "demo", "up", "test", "check", "bench", "lock", "test-long", "soak"):
        assert re.search(rf"^  make {target} +\S", listed, re.M), target
