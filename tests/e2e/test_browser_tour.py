"""The tour of what the demo plants: each failure is seen, mended and replayed, from red to green, with the keyboard alone.

A demo of its own, so that what it mends is still broken for the other tests.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Page, TimeoutError

from tests.e2e.browser import Chromium, Watched
from tests.e2e.conftest import Demo, open_demo

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
PATIENCE = 120.0
MOST_STOPS = 120
RED = ("tried again by themselves", "paused", "took jobs for test samples", "without a route")


@pytest.fixture
def broken() -> Iterator[Demo]:
    with open_demo() as opened:
        yield opened


def tab_to(page: Page, text: str) -> None:
    """Presses Tab until what `text` names has the focus."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if text in page.evaluate(
            "(a => a === document.body ? '' : (a.labels && a.labels[0] || a).textContent.trim())(document.activeElement)"
        ):
            return
    raise AssertionError(f"Tab never comes to {text!r} on {page.url}")


def go(page: Page, key: str) -> None:
    """`g`, then the key of a page."""
    page.keyboard.press("g")
    with page.expect_navigation():
        page.keyboard.press(key)


def confirm(page: Page, button: str) -> None:
    """The dialog that opened is answered by the button that has the focus, or is tabbed to."""
    page.locator("dialog[open]").wait_for()
    page.wait_for_function("document.querySelector('dialog').contains(document.activeElement)")
    if not re.search(button, page.evaluate("document.activeElement.textContent")):
        tab_to(page, page.locator("dialog button[type=submit]").inner_text())
    with page.expect_navigation():
        page.keyboard.press("Enter")


def until(page: Page, key: str, holds: Callable[[str], bool]) -> None:
    """Opens a page again and again until its text is as it should be."""
    deadline = time.monotonic() + PATIENCE
    while not holds(text := page.inner_text("main")):
        assert time.monotonic() < deadline, text
        go(page, key)


def open_job(page: Page, number: str) -> None:
    """`/`, the number and Enter; of several that match, the first. Again where the page came anew while it was typed."""
    deadline = time.monotonic() + PATIENCE
    while f"/ui/jobs/{number}" not in page.url:
        assert time.monotonic() < deadline, page.url
        page.keyboard.press("/")
        page.keyboard.type(number)
        with suppress(TimeoutError), page.expect_navigation(timeout=5000):
            page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        if re.search(r"/ui/jobs\?", page.url):
            page.keyboard.press("j")
            with suppress(TimeoutError), page.expect_navigation(timeout=5000):
                page.keyboard.press("Enter")


def test_every_planted_failure_goes_from_red_to_green_with_the_keyboard_alone(chromium: Chromium, broken: Demo) -> None:
    location = broken.call("GET", f"{broken.level_url}/_control")["locations"][0]
    draft = next(hook for hook in location["hooks"] if hook["mode"] == "test")

    def act(name: str, **arguments: Any) -> Any:
        return broken.call("POST", f"{broken.level_url}/_control/acts/{name}", arguments)

    def tour(watched: Watched) -> None:
        page = watched.page
        # The second key of `g n` counts for a second and a half; a slow machine is not a slow person.
        page.clock.set_fixed_time(1_800_000_000_000)
        page.goto(broken.link)
        page.wait_for_url(f"{broken.url}/ui/")
        assert re.search(r"jobs need you, \d+ are tried again by themselves, 1 hook is paused", page.inner_text("main"))

        # 1. A workflow that is not published: publish it, resume the hook, replay what it took for samples.
        go(page, "n")
        assert "GoHighLevel took jobs for test samples" in page.inner_text("main")
        act("set_hook", uuid=draft["id"], mode="live")
        tab_to(page, "Resume…")
        page.keyboard.press("Enter")
        confirm(page, "Resume")
        go(page, "n")
        tab_to(page, "Replay ")
        page.keyboard.press("Enter")
        confirm(page, "Send|Replay")
        until(page, "n", lambda text: "took jobs for test samples" not in text)

        # 2. A unit that goes nowhere: route it into a pipeline, by the names of both systems.
        tab_to(page, "Route the units")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        row = page.locator("tr", has_text="Pool - Commercial")
        assert "needs a route" in row.inner_text()
        change = row.get_by_role("link", name="Change").get_attribute("href")
        for _ in range(MOST_STOPS):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('href')") == change:
                break
        page.keyboard.press("Enter")
        page.locator("dialog[open]").wait_for()
        page.wait_for_function("document.querySelector('dialog').contains(document.activeElement)")
        assert page.evaluate("document.activeElement.name") == "route"
        page.keyboard.type("JobSync, straight")
        tab_to(page, "Pipeline and stage")
        page.keyboard.type("Service Pipeline / New")
        tab_to(page, "See what would change")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert "Service Pipeline / New Job" in page.inner_text("main")
        # A job may have been booked there meanwhile.
        tab_to(page, "Route and send")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        assert re.search(r"\d+ jobs planned", page.inner_text("#flash"))
        go(page, "n")
        until(page, "n", lambda text: "without a route" not in text)

        # 3. A hook that answers 500: mend it, open the job, replay it, then all the others.
        sample = re.search(r"Plumbing: its hook answers 500\n\s+jobsync why (\d+)", broken.said)
        assert sample is not None
        open_job(page, sample[1])
        assert "HTTP 500" in page.inner_text("main")
        broken.call("DELETE", f"{broken.level_url}/_control/faults")
        page.keyboard.press("r")
        confirm(page, "Send|Replay")
        deadline = time.monotonic() + PATIENCE
        while "accepted" not in page.inner_text("main .head"):
            assert time.monotonic() < deadline, page.inner_text("main")
            open_job(page, sample[1])
            page.keyboard.press("F5")
            page.reload()
        go(page, "j")
        tab_to(page, "Waiting")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        if page.get_by_text(re.compile("Replay all .* matching")).count():
            tab_to(page, "Replay all")
            page.keyboard.press("Enter")
            page.locator("dialog[open]").wait_for()
            # What is tried again by itself may have gone out since the list was shown: then there is nothing to confirm.
            if page.locator("dialog button[type=submit]").count():
                confirm(page, "Send|Replay")
            else:
                page.keyboard.press("Escape")
        go(page, "o")
        # What stays is no planted failure: customers whom nobody can reach, in the unit that has a route now.
        until(page, "o", lambda text: not any(word in text for word in RED))

    chromium.look_at(tour)
    for number in re.findall(r"jobsync why (\d+)", broken.said):
        # What was red when the tour began may still be under way.
        deadline = time.monotonic() + 60
        while (state := broken.call("GET", f"/db/jobs/{number}")["ghl_sync_status"]) != "synced":
            assert state == "pending" and time.monotonic() < deadline
            time.sleep(0.2)
