"""The pages of the site, their order, and the build. A new page in docs/ finds its place by its name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from docs.site.commands import describe_commands
from docs.site.settings import describe_settings

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs"
GENERATED = ("commands.md", "settings.md", "tables.md", "changelog.md")
# Heading -> pages in their order; a pattern takes whatever exists. What no heading takes stands under "More".
ORDER: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Start", ("index.md", "quick-start.md", "concepts.md", "guarantees.md")),
    ("Moving in", ("moving*.md", "the-week-of-the-switch.md", "shadow*.md", "airtable*.md", "n8n*.md", "backfill.md")),
    (
        "Every day",
        (
            "what-is-sent-and-when.md",
            "why-a-job-is-where-it-is.md",
            "routes-and-rules.md",
            "dashboard*.md",
            "troubleshooting.md",
            "alerts.md",
        ),
    ),
    ("Running it", ("deployment.md", "operations.md", "security.md", "scaling.md")),
    ("Reference", ("commands.md", "settings.md", "api.md", "tables.md", "changelog.md")),
    (
        "How it is made",
        ("architecture.md", "how-pull-never-loses-a-job.md", "proof.md", "decisions/*.md"),
    ),
)
_LINK = re.compile(r"\[([^\]]+)\]\(((?!https?:|mailto:|#)[^)\s]+)\)")


def gather(source: Path, *, tables: str) -> None:
    """Puts all pages into `source`, written and made ones; empties it first."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for page in sorted(DOCS.rglob("*.md")):
        place = page.relative_to(DOCS)
        if place.parts[0] != "site":
            _write(source / place, _mend_links(page.read_text("utf-8"), page.parent))
    for picture in sorted(DOCS.glob("*.svg")):
        shutil.copy(picture, source)
    _write(source / "commands.md", describe_commands())
    _write(source / "settings.md", describe_settings((CHECKOUT / ".env.example").read_text("utf-8")))
    _write(source / "tables.md", tables)
    _write(source / "changelog.md", _mend_links((CHECKOUT / "CHANGELOG.md").read_text("utf-8"), CHECKOUT))


def list_nav(source: Path) -> list[dict[str, Any]]:
    """The navigation: every page once, under the heading that takes it."""
    left = {page.relative_to(source).as_posix() for page in source.rglob("*.md")}
    nav: list[dict[str, Any]] = []
    for heading, patterns in ORDER:
        taken = [page for pattern in patterns for page in sorted(_matching(left, pattern))]
        left -= set(taken)
        if taken:
            nav.append({heading: taken})
    if left:
        nav.append({"More": sorted(left)})
    return nav


def build(source: Path, folder: Path) -> int:
    """Makes the site; the generator's exit code. Every warning is an error."""
    settings = {
        "site_name": "JobSync",
        "site_description": "ServiceTitan, PostgreSQL, GoHighLevel: kept equal, and every job can say why.",
        "docs_dir": str(source.resolve()),
        "site_dir": str(folder.resolve()),
        "use_directory_urls": False,
        "strict": True,
        "nav": list_nav(source),
        # Nothing is loaded from elsewhere.
        "theme": {"name": "material", "font": False, "features": ["navigation.sections", "content.code.copy"]},
        "plugins": ["search"],
        "markdown_extensions": ["tables", "fenced_code", "attr_list", {"toc": {"permalink": True}}],
        "validation": {
            "omitted_files": "warn",
            "absolute_links": "warn",
            "unrecognized_links": "warn",
            "anchors": "warn",
        },
    }
    file = source.parent / "mkdocs.yml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    # Not --quiet: what is not logged does not count as a warning either.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(file)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)
    return done.returncode


def _matching(pages: Iterable[str], pattern: str) -> list[str]:
    return [page for page in pages if Path(page).match(pattern) and page.count("/") == pattern.count("/")]


def _mend_links(text: str, folder: Path) -> str:
    """Links to files of the checkout that are no pages become their names; links to pages stay as they are."""

    def mend(found: re.Match[str]) -> str:
        words, target = found[1], found[2].split("#")[0]
        place = (folder / target).resolve()
        if place.is_relative_to(DOCS):
            if folder == DOCS or folder.is_relative_to(DOCS):
                return found[0]
            return f"[{words}]({place.relative_to(DOCS).as_posix()}{found[2][len(target) :]})"
        if not place.exists():
            return found[0]
        name = place.relative_to(CHECKOUT).as_posix()
        return f"{words} (`{name}`)" if name not in words else f"`{name}`"

    return _LINK.sub(mend, text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # The words after a block's language are for the tests, and no reader's business.
    path.write_text(re.sub(r"^(```+)(sh|bash|sql|json|yaml)[ \t][^\n`]*$", r"\1\2", text, flags=re.M), "utf-8")
