"""A chromium for tests: driven from a thread of its own, so that the loops of other tests are left alone.

What a page must never do is noted while it is driven: errors on the console, requests to anywhere else, dialogs that a
script opened. `look_at` hands a page to a function and answers what that answers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Playwright, sync_playwright

T = TypeVar("T")
Theme = Literal["light", "dark"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
HEIGHT = 800
PATIENCE_MS = 60_000
# WCAG 2.2 AA and what is good practice besides.
AXE_OPTIONS = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "resultTypes": ["violations"],
}


def find_chromium() -> str | None:
    """The system's chromium; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Watched:
    """A page with what went wrong on it so far."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Fails when anything went wrong since the last time."""
        wrong, self.wrong[:] = list(self.wrong), []
        assert wrong == []


class Chromium:
    """One browser for a test run. Its methods may be called from any thread but its own."""

    def __init__(self, executable: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chromium")
        self._executable = executable
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._thread.submit(self._start).result(PATIENCE_MS / 1000)

    def _start(self) -> None:
        self._playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=self._executable, args=list(FLAGS))

    def close(self) -> None:
        """Ends the browser and its thread."""
        self._thread.submit(self._stop).result(PATIENCE_MS / 1000)
        self._thread.shutdown()

    def _stop(self) -> None:
        if self._browser is not None:
            self._browser.close()
        if self._playwright is not None:
            self._playwright.stop()

    def look_at(self, story: Callable[[Watched], T], **options: Any) -> T:
        """Runs `story` with a fresh page (see `_open` for the options) and answers what it answers."""

        def run() -> T:
            with self._open(**options) as watched:
                answer = story(watched)
                watched.check()
                return answer

        return self._thread.submit(run).result()

    @contextmanager
    def _open(
        self,
        *,
        theme: Theme = "light",
        width: int = 1280,
        scripts: bool = True,
        state: Any = None,
        time_zone: str = "America/Phoenix",
    ) -> Iterator[Watched]:
        """`scripts` False: without JavaScript; `state`: cookies of somebody who signed in."""
        assert self._browser is not None
        context: BrowserContext = self._browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme=theme,
            java_script_enabled=scripts,
            storage_state=state,
            reduced_motion="reduce",
            timezone_id=time_zone,
            locale="en-US",
        )
        context.set_default_timeout(PATIENCE_MS)
        try:
            watched = Watched(context.new_page())
            _watch(watched)
            yield watched
        finally:
            context.close()


def _watch(watched: Watched) -> None:
    page, wrong = watched.page, watched.wrong
    page.on("console", lambda said: wrong.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))

    def refuse(dialog: Dialog) -> None:
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", refuse)


@cache
def _read_axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def find_violations(page: Page) -> list[str]:
    """What axe says against the page, one line a violation with the first place."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_read_axe())
    found = page.evaluate("options => axe.run(document, options)", AXE_OPTIONS)
    return [
        f"{each['id']}: {each['help']} ({len(each['nodes'])}x, {each['nodes'][0]['target']}: {each['nodes'][0]['html'][:160]})"
        for each in found["violations"]
    ]


LAYOUT = """() => {
  const wrong = [], root = document.documentElement, said = each => (each.getAttribute("aria-label") || each.textContent || each.id).trim().slice(0, 60);
  const beyond = root.scrollWidth - root.clientWidth;
  if (beyond > 0) wrong.push(`${beyond} px too wide`);
  for (const each of document.querySelectorAll(".card"))
    if (each.scrollWidth > each.clientWidth + 1) wrong.push("sticks out of its card: " + said(each.querySelector("h1, h2, h3") || each));
  // As cards, each cell keeps room on its left for its name.
  for (const each of document.querySelectorAll("table.cards [data-th]:not([data-th=''])"))
    if (getComputedStyle(each).display === "block" && parseFloat(getComputedStyle(each).paddingLeft) < 100) { wrong.push("its name covers it: " + said(each)); break; }
  // What is pressed does not lie on what else is pressed.
  const boxes = [...document.querySelectorAll("main :is(a.button, a.chip, button, input, select, textarea), header :is(a, button, input)")]
    .map(each => ({each, box: each.getBoundingClientRect()})).filter(({each, box}) => box.width > 1 && box.height > 1 && each.checkVisibility() && !each.closest(".boxes, .scroll")).sort((a, b) => a.box.top - b.box.top);
  boxes.forEach(({each, box}, at) => {
    for (let next = at + 1; next < boxes.length && boxes[next].box.top < box.bottom - 1; next++) {
      const other = boxes[next].box;
      if (other.left < box.right - 1 && box.left < other.right - 1 && !each.contains(boxes[next].each)) wrong.push(`${said(each)} and ${said(boxes[next].each)} overlap`);
    }
  });
  return wrong;
}"""


def find_layout_faults(page: Page) -> list[str]:
    """What does not fit: a page that can be scrolled sideways, content wider than its card, text or controls on each other."""
    return page.evaluate(LAYOUT)


def measure_height(page: Page) -> int:
    """How tall the whole page is."""
    return page.evaluate("document.documentElement.scrollHeight")


def picture_folder() -> Path:
    """Where screenshots go: JOBSYNC_SCREENSHOTS, or build/screenshots."""
    folder = Path(os.environ.get("JOBSYNC_SCREENSHOTS") or Path(__file__).parents[2] / "build/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
