# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report page in a real Chromium: requests, policy, mouse, keyboard and print."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.documents import parse_graph
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_page import page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import view
from axe_playwright_python.sync_playwright import Axe
from page.conftest import Open, Watched
from page.graphs import HOSTILE, NOW, Graph, format_time, healthy, hostile, troubled, with_identities
from playwright.sync_api import Browser, Locator

LARGEST_PAGE = 3 * 1000 * 1000
SLOWEST_FILTER = 200.0
SLOWEST_LOAD = 5.0

FLEETS: dict[str, Callable[[], Graph]] = {
    "healthy": healthy,
    "10-hosts": troubled,
    "hostile": hostile,
    "identities": lambda: with_identities(troubled()),
    "empty": lambda: {**healthy(0, 0), "projects": [], "services": []},
    "1000-hosts": lambda: troubled(1000, 300),
}


def html_of(graph: Graph) -> str:
    return page(view(parse_graph(graph), NOW))


def texts(found: Locator) -> list[str]:
    """Return the texts of elements, including elements that are too far from the window to be rendered."""
    return [" ".join(text.split()) for text in found.all_text_contents()]


def use_everything(page: Watched) -> None:
    """Use every kind of control."""
    tab = page.tab
    for text in ('"*1*" e(', "</script>", ""):
        page.filter(text)
    for heading in tab.locator("thead button").all():
        heading.click()
        heading.click()
    for table in ("secrets", "hosts"):
        for button in tab.locator(f"#{table} tbody button").all()[:12]:
            button.click()
    for button in tab.locator("[data-find]").all():
        button.click()
    for summary in tab.locator("summary").all():
        summary.click()
    page.filter("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fleet", FLEETS)
def test_page_sends_no_request_and_obeys_its_security_policy(
    fleet: str, scheme: str, show: Open, artefacts: Path
) -> None:
    page = show(FLEETS[fleet](), scheme)
    page.tab.set_viewport_size({"width": 1280, "height": 2600})  # so that all visible rows are rendered
    page.tab.screenshot(path=artefacts / f"{fleet}-{scheme}.png", full_page=True)
    use_everything(page)
    page.tab.emulate_media(media="print")
    if scheme == "light":
        page.tab.screenshot(path=artefacts / f"{fleet}-print.png", full_page=True)
    assert page.harm_done() == []


@pytest.mark.parametrize(
    ("harm", "noticed"),
    [
        ("<img src=x>", "img-src"),
        ("<img src=https://keyfleet.invalid/x>", "img-src https://keyfleet.invalid"),
        ("<b onclick='x()'></b>", "script-src-attr inline"),
        ("<b style='color: red'></b>", "style-src-attr inline"),
        ("<script>alert(1)</script>", "script-src-elem inline"),
    ],
)
def test_forbidden_actions_of_a_page_are_detected(harm: str, noticed: str, open_file: Open, tmp_path: Path) -> None:
    path = tmp_path / "fleet.html"
    path.write_text(html_of(healthy()).replace("<main>", f"<main>{harm}"), encoding="utf-8")
    assert any(noticed in one for one in open_file(path).harm_done())


def test_security_policy_allows_only_the_pages_style_and_script() -> None:
    html = html_of(troubled())
    policy = html.split('Content-Security-Policy" content="')[1].split('"')[0].replace("&#39;", "'")
    names = [rule.split()[0] for rule in policy.split("; ")]
    assert names == ["default-src", "script-src", "style-src", "base-uri", "form-action"]
    assert "unsafe" not in policy
    assert all(len(rule.split()) == 2 for rule in policy.split("; "))
    style = html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_html_in_names_is_shown_as_text(show: Open) -> None:
    page = show(hostile())
    # A lone surrogate is replaced, and a character that reverses the direction of text is shown as its code.
    names = {name.replace("\ud800", "\ufffd").replace("\u202e", "\\u202e") for name in HOSTILE}
    assert set(page.hosts()) == names
    assert names <= set(page.secrets())
    summary = page.tab.locator("#attention").inner_text()
    assert f"3 of 10 hosts are behind on {HOSTILE[-1].replace(chr(0xD800), chr(0xFFFD))} for 2 h" in summary
    page.row("hosts", HOSTILE[0]).locator("button").click()
    assert HOSTILE[2] in page.tab.locator("#hosts .details").inner_text()
    page.filter(f"{HOSTILE[0]} job")
    assert len(page.hosts()) == 10, "the job has that name on every host"
    use_everything(page)
    assert page.harm_done() == []
    assert page.tab.locator("script").count() == 1
    assert page.tab.locator("img, iframe, object, embed, link, base, svg").count() == 0
    handlers = "all => all.flatMap(one => one.getAttributeNames()).filter(name => name.startsWith('on'))"
    assert page.tab.locator("*").evaluate_all(handlers) == []


def test_summary_links_to_rows_that_require_attention(show: Open) -> None:
    page = show(troubled())
    assert page.tab.locator("#attention li > bdi").all_inner_texts() == [
        "3 of 10 hosts are behind on DB_PASSWORD for 2 h: web1, web2, web3",
        "1 of 10 hosts is missing API_KEY: web8",
        "1 of 10 hosts is stale (last sync 5 intervals ago): web5",
        "1 of 10 hosts failed to sync (forbidden): web7",
        "1 of 10 hosts did not respond (last response 3 d ago): web9",
        "2 of 10 hosts still have SMTP_PASSWORD, which was deleted in Infisical: web1, web2",
    ]
    found = []
    for button in page.tab.locator("[data-find]").all():
        button.click()
        found.append((page.secrets(), page.hosts()))
    assert found == [
        (["DB_PASSWORD"], []),
        (["API_KEY"], []),
        ([], ["web5"]),
        ([], ["web7"]),
        ([], ["web9"]),
        (["SMTP_PASSWORD"], []),
    ]
    assert page.tab.evaluate("document.activeElement.id") == "filter"


def test_rows_that_require_attention_are_listed_first(show: Open) -> None:
    page = show(troubled())
    assert page.secrets()[:4] == ["DB_PASSWORD", "API_KEY", "SMTP_PASSWORD", "DB_USER"]
    assert page.hosts() == ["web7", "web9", "web5", "web1", "web2", "web3", "web8", "web4", "web6", "web10"]


def test_rows_show_states_and_counts(show: Open) -> None:
    page = show(troubled())

    def cells(table: str, name: str) -> list[str]:
        return texts(page.row(table, name).locator("td"))

    path = "Shop prod /shop"
    assert cells("secrets", "DB_PASSWORD") == [path, "behind", "4", "2 h ago", "10", "3", "0", "2", "0"]
    assert cells("secrets", "API_KEY")[1:] == ["missing", "4", "20 d ago", "9", "0", "1", "2", "0"]
    assert cells("secrets", "DB_USER")[1] == "ok"
    assert cells("hosts", "web1") == ["shop", "behind", "2 min ago", "12", "1", "0", "1", "0", "", "", ""]
    assert cells("hosts", "web8")[1:] == ["missing", "2 min ago", "10", "0", "1", "0", "0", "", "", ""]
    assert cells("hosts", "web7")[-1] == "forbidden: The machine identity lacks 'Read Value' on 'Secrets'."
    assert (cells("hosts", "web5")[1], cells("hosts", "web5")[-1]) == ("stale", "last sync 5 intervals ago")
    assert (cells("hosts", "web9")[1], cells("hosts", "web9")[-1]) == ("silent", "last response 3 d ago")


def test_rows_show_identities_and_least_privilege(show: Open) -> None:
    page = show(with_identities(troubled()))

    def cells(name: str) -> list[str]:
        return texts(page.row("hosts", name).locator("td"))[8:10]

    assert cells("web1") == ["60 d left", "host:web1 kept"]
    assert cells("web2")[0] == "10 d left"
    assert cells("web3")[0] == "expired"
    assert cells("web7") == ["60 d left", "host:web7 exceeded role viewer"]
    assert cells("web8")[1] == "host:web8 exceeded read dev:/admin and below"
    assert (cells("web9"), cells("web10")) == (["", "shared"], ["", ""])
    page.filter("exceeded")
    assert page.hosts() == ["web7", "web8"]


def test_secret_row_expands_to_show_its_hosts(show: Open) -> None:
    page = show(troubled())
    button = page.row("secrets", "DB_PASSWORD").locator("button")
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    assert button.get_attribute("aria-expanded") == "true"
    details = page.tab.locator("#secrets .details")
    assert texts(details.locator("dt")) == ["behind 3", "stale 2", "current 5"]
    assert details.locator("dd").all_inner_texts()[:2] == ["web1 (−1), web2 (−1), web3 (−1)", "web9, web5"]
    button.click()
    assert details.count() == 0


def test_host_row_expands_to_show_its_secrets(show: Open) -> None:
    graph = troubled()
    graph["vaults"][9]["holds"][0][1] = 5
    page = show(graph)
    for host in ("web1", "web8", "web10"):
        page.row("hosts", host).locator("button").click()
    said = page.tab.locator("#hosts .details").all_inner_texts()
    assert sorted(" ".join(one.split("current")[0].split()) for one in said) == [
        "behind 1 DB_PASSWORD (−1) gone 1 SMTP_PASSWORD",
        "missing 1 API_KEY",
        "unknown 1 DB_PASSWORD",
    ]


def test_secret_that_was_created_again_is_shown_as_behind(show: Open) -> None:
    graph = troubled()
    graph["vaults"][3]["holds"][0] = [0, 4, format_time(NOW - 90_000), None, "another-id"]
    page = show(graph)
    page.row("secrets", "DB_PASSWORD").locator("button").click()
    assert "web4 (created again)" in page.tab.locator("#secrets .details").inner_text()
    assert page.row("matrix", "web4").locator(".mark").first.get_attribute("data-lag") == "↻"


def test_details_show_the_location_of_secrets_with_the_same_name(show: Open) -> None:
    graph = troubled()
    graph["secrets"].append({**graph["secrets"][0], "path": "/elsewhere"})
    for vault in graph["vaults"]:
        vault["holds"].append([len(graph["secrets"]) - 1, 1, vault["holds"][0][2]])
    page = show(graph)
    page.row("hosts", "web1").locator("button").click()
    said = page.tab.locator("#hosts .details").inner_text()
    assert "DB_PASSWORD (Shop prod /elsewhere) (−3), DB_PASSWORD (Shop prod /shop) (−1)" in said


def test_host_with_two_jobs_has_one_row(show: Open) -> None:
    graph = troubled()
    other = {**graph["vaults"][5], "job": "cron", "conclusion": "locked_out", "message": "No login."}
    other["holds"] = [[0, 2, other["holds"][0][2]]]
    other["scope"] = {**other["scope"], "secret_path": "/cron"}
    graph["vaults"].append(other)
    row = show(graph).row("hosts", "web6")
    assert texts(row.locator("td")) == [
        "cron, shop",
        "failed",
        "2 min ago",
        "11",
        "1",
        "0",
        "0",
        "0",
        "",
        "",
        "cron: locked_out: No login.",
    ]


def test_matrix_has_a_mark_in_every_cell(show: Open) -> None:
    page = show(troubled())
    assert page.tab.locator("#matrix thead th").all_inner_texts()[:3] == ["Host", "DB_PASSWORD", "API_KEY"]
    marks = page.tab.locator("#matrix td").evaluate_all("all => all.map(one => one.textContent)")
    assert {state: marks.count(state) for state in set(marks)} == {
        "behind": 3, "missing": 1, "gone": 2, "stale": 22, "current": 84, "": 8,
    }  # fmt: skip
    assert page.row("matrix", "web1").locator(".mark").first.get_attribute("data-lag") == "−1"


@pytest.mark.parametrize(("hosts", "secrets", "shown"), [(50, 100, True), (51, 100, False)])
def test_matrix_is_shown_up_to_5000_cells(hosts: int, secrets: int, shown: bool) -> None:
    html = html_of(healthy(hosts, secrets))
    assert ("The matrix is not shown because it would have more than 5,000 cells." in html) is not shown
    assert html.count('<i class="mark current"><span>') == 5000 * shown


@pytest.mark.parametrize(
    ("text", "secrets", "hosts"),
    [
        ("web1", [], ["web1", "web10"]),
        ("  WEB10 ", [], ["web10"]),
        ("web2 shop", [], ["web2"]),
        ("db_", ["DB_PASSWORD", "DB_USER"], []),
        ("/common", ["SMTP_PASSWORD", "S3_SECRET_KEY", "SESSION_KEY"], []),
        ("behind", ["DB_PASSWORD"], ["web1", "web2", "web3"]),
        ("read value", [], ["web7"]),
        ("web(", [], []),
        ("*", [], []),
    ],
)
def test_filter_keeps_rows_that_contain_the_text(text: str, secrets: list[str], hosts: list[str], show: Open) -> None:
    page = show(troubled())
    page.filter(text)
    assert (page.secrets(), page.hosts()) == (secrets, hosts)
    matrix = page.tab.locator("#matrix tbody tr").filter(visible=True)
    assert matrix.locator("th").all_inner_texts() == hosts
    counts = f"{len(secrets)} of 12 secrets, {len(hosts)} of 10 hosts"
    assert page.tab.locator("#shown").inner_text() == counts
    page.filter("")
    assert (len(page.secrets()), len(page.hosts())) == (12, 10)


def test_details_hide_with_their_row(show: Open) -> None:
    page = show(troubled())
    page.row("hosts", "web1").locator("button").click()
    page.filter("web2")
    assert not page.tab.locator("#hosts .details").is_visible()
    page.filter("web1")
    assert page.tab.locator("#hosts .details").is_visible()


@pytest.mark.parametrize(
    ("table", "column", "first", "last"),
    [
        ("hosts", "Host", ["web1", "web2", "web3"], "web10"),
        ("hosts", "Last sync", ["web1", "web2", "web3"], "web9"),
        ("hosts", "Status", ["web1", "web2", "web3"], "web5"),
        ("hosts", "Missing", ["web8"], "web10"),
        ("secrets", "Secret", ["API_KEY", "DB_PASSWORD", "DB_USER"], "STRIPE_KEY"),
        ("secrets", "Project and path", ["S3_SECRET_KEY", "SESSION_KEY", "SMTP_PASSWORD"], "STRIPE_KEY"),
        ("secrets", "Changed", ["DB_PASSWORD", "API_KEY"], "STRIPE_KEY"),
        ("secrets", "Behind", ["DB_PASSWORD", "API_KEY"], "STRIPE_KEY"),
    ],
)
def test_click_on_a_heading_sorts_the_table(table: str, column: str, first: list[str], last: str, show: Open) -> None:
    page = show(troubled())
    rows = getattr(page, table)
    # First by name, because equal rows keep their order.
    page.tab.locator(f"#{table} thead button").first.click()
    heading = page.tab.locator(f"#{table} thead th", has_text=column).first
    if column not in ("Host", "Secret"):
        heading.locator("button").click()
    assert (rows()[: len(first)], rows()[-1]) == (first, last)
    order = heading.get_attribute("aria-sort")
    heading.locator("button").click()
    assert {order, heading.get_attribute("aria-sort")} == {"ascending", "descending"}
    assert page.tab.locator(f"#{table} [aria-sort]").count() == 1
    assert rows()[0] != first[0]


def test_details_follow_their_row_when_it_is_sorted(show: Open) -> None:
    page = show(troubled())
    page.row("hosts", "web8").locator("button").click()
    # Read before the next frame: the details are drawn with the table, not when they are seen.
    beside, text = page.tab.evaluate("""() => {
      document.querySelector("#hosts thead button").click();
      const details = document.querySelector("#hosts .details");
      return [details.previousElementSibling.cells[0].textContent.trim(), details.querySelector("dd").innerText]; }""")
    assert beside == "web8"
    assert "API_KEY" in text


def test_every_control_can_be_used_with_the_keyboard(show: Open) -> None:
    page = show(troubled(10, 12))
    tab = page.tab
    what = """(() => { const e = document.activeElement; if (e.matches(".skip, input")) return e.id || "skip";
      if (e.matches(".box")) return e.parentNode.id; if (e.matches("[data-find]")) return "find";
      return `${e.closest("section")?.id} ${e.closest("thead") ? "heading" : "row"}`; })()"""
    stops: list[str] = []
    while "matrix" not in stops and len(stops) < 100:
        tab.keyboard.press("Tab")
        stops.append(tab.evaluate(what))
        visible = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        assert tab.evaluate(visible), f"no sign of focus on {stops[-1]}"
    assert list(dict.fromkeys(stops)) == [
        "skip", "find", "filter", "secrets", "secrets heading", "secrets row", "hosts", "hosts heading", "hosts row",
        "matrix",
    ]  # fmt: skip
    assert [stops.count(one) for one in ("find", "secrets row", "hosts row")] == [6, 12, 10]
    page.row("hosts", "web1").locator("button").focus()
    tab.keyboard.press("Enter")
    assert tab.locator("#hosts .details").is_visible()
    assert page.harm_done() == []


def test_long_name_does_not_widen_the_page(show: Open) -> None:
    graph = troubled()
    graph["secrets"][0]["name"] = "N" * 500
    graph["vaults"][0]["host"] = "h" * 500
    page = show(graph)
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.tab.evaluate("[...document.querySelectorAll('.box')].every(one => one.scrollWidth <= one.clientWidth)")


def test_rows_are_shown_without_javascript(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "fleet.html"
    path.write_text(html_of(troubled()), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.locator("#attention li").filter(visible=True).count() == 6
    rows = [tab.locator(f"#{table} tbody tr").filter(visible=True).count() for table in ("secrets", "hosts", "matrix")]
    assert rows == [12, 10, 10]
    assert tab.locator("input, button").filter(visible=True).count() == 0
    context.close()


def test_theme_follows_the_system_setting(show: Open) -> None:
    page = show(healthy(), "dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.tab.evaluate(ground)
    page.tab.emulate_media(color_scheme="light")
    assert page.tab.evaluate(ground) != dark


def test_printed_page_has_all_rows_and_no_controls(show: Open) -> None:
    page = show(troubled(60, 12), "dark")
    page.filter("web")
    page.tab.emulate_media(media="print")
    assert page.tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.tab.locator("#filter, [data-find], .skip").filter(visible=True).count()
    page.tab.set_viewport_size({"width": 680, "height": 1000})  # A4 within its margins
    cut = """all => all.filter(
      (one) => one.scrollHeight > one.clientHeight || one.scrollWidth > one.clientWidth).length"""
    assert page.tab.locator(".box").evaluate_all(cut) == 0
    assert page.tab.locator("#shown").inner_text() == "3 of 12 secrets, 60 of 60 hosts"
    # The hosts of a summary line are printed, although its details are closed.
    closed = page.tab.locator("details:not([open])", has_text="more secrets")
    assert (closed.bounding_box() or {})["height"] > (closed.locator("summary").bounding_box() or {})["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fleet", ["10-hosts", "healthy", "empty", "identities"])
def test_axe_finds_no_accessibility_problems(fleet: str, scheme: str, show: Open) -> None:
    page = show(FLEETS[fleet](), scheme)
    page.tab.set_viewport_size({"width": 1400, "height": 4000})  # so that all rows are rendered
    for button in page.tab.locator("tbody button").all()[:14]:
        button.click()
    found = Axe().run(page.tab)
    assert found.response["passes"], "the check itself did not run"
    assert [(one["id"], one["help"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []


def test_page_of_a_large_fleet_is_small_and_its_filter_is_fast(show: Open) -> None:
    graph = troubled(1000, 300)
    size = len(html_of(graph).encode())
    assert size < LARGEST_PAGE
    started = time.monotonic()
    shown = show(graph)
    loaded = shown.tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    took = """async (text) => {
      const input = document.getElementById("filter"), times = [];
      for (let again = 0; again < 5; again++) {
        for (const value of ["", text]) {
          input.value = value;
          const started = performance.now();
          input.dispatchEvent(new Event("input"));
          document.body.getBoundingClientRect();
          times.push([value, performance.now() - started]);
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }
      }
      return Math.max(...["", text].map((value) =>
        Math.min(...times.filter(([of]) => of === value).map(([, time]) => time))));
    }"""
    # The best of five, because other tests use the processors too.
    slowest = {text: shown.tab.evaluate(took, text) for text in ("web1", "_KEY", "behind")}
    print(f"{size} bytes, made and loaded in {time.monotonic() - started:.2f} s, loaded in {loaded:.0f} ms, {slowest}")
    assert max(slowest.values()) < SLOWEST_FILTER
    assert loaded < SLOWEST_LOAD * 1000
    shown.filter("DB_PASSWORD")
    shown.tab.locator("#secrets tbody tr:not([hidden]) button").first.click()
    assert texts(shown.tab.locator("#secrets .details dt")) == ["behind 3", "stale 2", "current 995"]
    shown.filter("web1000")
    assert shown.hosts() == ["web1000"]


def test_fake_secrets_from_a_host_do_not_enlarge_the_page() -> None:
    graph = healthy(10, 6000)
    for vault in graph["vaults"][1:]:
        vault["holds"] = vault["holds"][:10]
    html = html_of(graph)
    assert "This table has the 5,000 secrets that need attention most, of 6,000." in html
    assert html.count('<tr data-cells="') == 10
    assert len(html.encode()) < LARGEST_PAGE
