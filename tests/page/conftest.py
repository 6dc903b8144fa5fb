# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's Chromium, and pages in it whose console, requests and errors are recorded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.documents import parse_graph
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_page import page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import view
from page.graphs import NOW, Graph
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
"""


@dataclass
class Watched:
    """A page in the browser, with a record of its forbidden actions."""

    tab: Page
    harm: list[str] = field(default_factory=list)

    def harm_done(self) -> list[str]:
        """The page's console messages, exceptions, dialogs, requests and violations of its policy."""
        return [*self.harm, *self.tab.evaluate("window.violations")]

    def filter(self, text: str) -> None:
        self.tab.locator("#filter").fill(text)

    def hosts(self) -> list[str]:
        """The hosts with visible rows, from top to bottom."""
        return self._names("#hosts")

    def secrets(self) -> list[str]:
        """The secrets with visible rows, from top to bottom."""
        return self._names("#secrets")

    def row(self, table: str, name: str) -> Locator:
        """Return the row of a host or secret in the table `hosts`, `secrets` or `matrix`."""
        return self.tab.locator(f"#{table} tbody tr", has=self.tab.get_by_text(name, exact=True)).first

    def _names(self, table: str) -> list[str]:
        return self.tab.locator(f"{table} tbody tr:not([hidden]) > th bdi").all_text_contents()


Open = Callable[..., "Watched"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "Chromium is not installed here: on Debian, apt-get install --no-install-recommends chromium"
        if os.environ.get("REQUIRE_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # Chromium cannot use its sandbox as root; the pages are our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def open_file(browser: Browser) -> Iterator[Open]:
    """Open a file in a new window."""
    contexts = []

    def open_watched(path: Path, scheme: str = "light") -> Watched:
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1400, "height": 900})  # type: ignore[arg-type]
        contexts.append(context)
        context.add_init_script(NOTE_VIOLATIONS)
        watched = Watched(context.new_page())
        url = path.as_uri()
        watched.tab.on("console", lambda message: watched.harm.append(f"console: {message.text}"))
        watched.tab.on("pageerror", lambda error: watched.harm.append(f"error: {error}"))
        watched.tab.on("dialog", lambda dialog: (watched.harm.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        watched.tab.on(
            "request", lambda request: None if request.url == url else watched.harm.append(f"request: {request.url}")
        )
        watched.tab.goto(url)
        return watched

    yield open_watched
    for context in contexts:
        context.close()


@pytest.fixture
def show(open_file: Open, tmp_path: Path) -> Open:
    """Render the page of a graph and open it."""

    def show_graph(graph: Graph, scheme: str = "light") -> Watched:
        path = tmp_path / "fleet.html"
        path.write_text(page(view(parse_graph(graph), NOW)), encoding="utf-8")
        return open_file(path, scheme)

    return show_graph


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """The folder of screenshots, for people to look at."""
    folder = Path(os.environ.get("KEYFLEET_BUILD") or ".build") / "page"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
