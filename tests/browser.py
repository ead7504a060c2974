"""A real browser for tests of pages: Debian's Chromium, headless, driven by playwright. It reaches no network.

A page is `Opened`: with all that it asked for, said on the console, or had refused by its policy. One browser serves a
module; it ends with it, since playwright's loop must not run under other tests.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.parts import need

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WATCH = "addEventListener('securitypolicyviolation', (e) => console.error('refused: ' + e.violatedDirective))"


@dataclass
class Opened:
    """A page. requests: addresses it asked for, its own first. said: on the console, and uncaught errors."""

    page: Page
    requests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def read(self, script: str, *argument: Any) -> Any:
        """What a script in the page gives."""
        return self.page.evaluate(script, *argument)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    need(program, "a Chromium (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, headless=True)
        yield running
        running.close()


@contextmanager
def opened(browser: Browser, file: Path, *, part: str = "", **how: Any) -> Iterator[Opened]:
    """A file in a window of its own. part: what stands behind the # of its address. how: of `Browser.new_context`."""
    with browser.new_context(reduced_motion="reduce", **how) as context:
        if how.get("java_script_enabled", True):
            context.add_init_script(WATCH)
        it = Opened(context.new_page())
        it.page.on("request", lambda request: it.requests.append(request.url))
        it.page.on("console", lambda message: it.said.append(message.text))
        it.page.on("pageerror", lambda error: it.said.append(str(error)))
        it.page.goto(f"{file.as_uri()}{part}")
        yield it
