# Copyright (c) 2026, keyfleet.infisical contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report's page in a real Chromium: it asks nobody, obeys its policy, and answers to mouse, keys and paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.keyfleet.infisical.plugins.module_utils.infisical.fleet.graph import parsed
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_page import page
from ansible_collections.keyfleet.infisical.plugins.plugin_utils.fleet_view import view
from axe_playwright_python.sync_playwright import Axe
from page.conftest import Open, Watched
from page.graphs import HOSTILE, NOW, Graph, format_time, healthy, hostile, troubled
from playwright.sync_api import Browser

LARGEST_PAGE = 10 * 1000 * 1000
SLOWEST_FILTER = 200.0

FLEETS: dict[str, Callable[[], Graph]] = {
    "healthy": healthy,
    "10-hosts": troubled,
    "hostile": hostile,
    "empty": lambda: {**healthy(0, 0), "projects": [], "services": []},
    "1000-hosts": lambda: troubled(1000, 300),
}


def use_everything(page: Watched) -> None:
    """Touch every control once."""
    tab = page.tab
    for name in ("hosts", "secrets"):
        page.filter(name, '"*1*" e')
        page.filter(name, "")
    for name in ("vaults", "row-order", "column-order"):
        for value in tab.locator(f"#{name} option").evaluate_all("all => all.map(one => one.value)"):
            tab.locator(f"#{name}").select_option(value)
    tab.locator("#reset").click()
    for chip in tab.locator(".chip").all():
        chip.click()
        chip.click()
    for button in tab.locator(".show").all():
        button.click()
    if tab.locator(".node[role=button]").count():
        tab.locator(".node[role=button]").last.click()
    tab.locator("#reset").click()
    tab.locator("#grid").focus()
    for key in ("ArrowDown", "ArrowRight", "End", "PageDown", "Control+End", "Home", "Control+Home"):
        tab.keyboard.press(key)
    for _theme in range(3):
        tab.locator("#theme").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fleet", FLEETS)
def test_the_page_asks_nobody_and_obeys_its_policy(fleet: str, scheme: str, show: Open, artefacts: Path) -> None:
    page = show(FLEETS[fleet](), scheme)
    page.tab.screenshot(path=artefacts / f"{fleet}-{scheme}.png", full_page=True)
    use_everything(page)
    page.tab.emulate_media(media="print")
    page.tab.wait_for_timeout(100)
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
def test_a_page_that_did_harm_would_be_noticed(harm: str, noticed: str, open_file: Open, tmp_path: Path) -> None:
    path = tmp_path / "fleet.html"
    path.write_text(page(view(parsed(healthy()), NOW)).replace("<main>", f"<main>{harm}"), encoding="utf-8")
    assert any(noticed in one for one in open_file(path).harm_done())


def test_the_policy_allows_nothing_but_its_own_style_and_script() -> None:
    html = page(view(parsed(troubled()), NOW))
    policy = html.split('Content-Security-Policy" content="')[1].split('"')[0].replace("&#39;", "'")
    names = [rule.split()[0] for rule in policy.split("; ")]
    assert names == ["default-src", "script-src", "style-src", "base-uri", "form-action"]
    assert "unsafe" not in policy
    assert all(len(rule.split()) == 2 for rule in policy.split("; "))
    style = html.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_names_stay_text_wherever_they_stand(show: Open) -> None:
    page = show(hostile())
    use_everything(page)
    assert page.harm_done() == []
    assert page.tab.locator("script").count() == 2
    assert page.tab.locator("img, iframe, object, embed, link, base").count() == 0
    handlers = "all => all.flatMap(one => one.getAttributeNames()).filter(name => name.startsWith('on'))"
    assert page.tab.locator("*").evaluate_all(handlers) == []
    # Half a character is the sign for one that is none, and what would turn the text around is spelled out.
    names = {name.replace("\ud800", "\ufffd").replace("\u202e", "\\u202e") for name in HOSTILE}
    assert set(page.hosts()) == names
    assert names <= set(page.secrets())
    titles = page.tab.locator("svg text").all_text_contents()
    assert HOSTILE[0] in titles
    summary = page.tab.locator("#summary").inner_text()
    assert f"3 of 10 hosts are behind on {HOSTILE[-1].replace(chr(0xD800), chr(0xFFFD))} for 2 h" in summary
    assert HOSTILE[2] in summary
    page.filter("hosts", HOSTILE[0])
    assert len(page.hosts()) == 10, "the job has that name on every host"
    page.tab.locator(".cell").first.hover()
    assert HOSTILE[0] in page.tab.locator("#detail").inner_text()


def test_the_summary_names_what_is_to_do_and_shows_it(show: Open) -> None:
    page = show(troubled())
    said = page.tab.locator("#summary li span").all_inner_texts()
    assert said == [
        "3 of 10 hosts are behind on DB_PASSWORD for 2 h: web1, web2, web3",
        "1 of 10 hosts is without API_KEY: web8",
        "1 of 10 hosts has not synced for 5 intervals: web5",
        "1 of 10 hosts fails to sync, forbidden: web7",
        "1 of 10 hosts did not answer, last heard of 3 d ago: web9",
        "2 of 10 hosts are still with SMTP_PASSWORD, which Infisical no longer has: web1, web2",
    ]
    shown = []
    for button in page.tab.locator(".show").all():
        button.click()
        shown.append((sorted(page.hosts()), page.secrets() if len(page.secrets()) == 1 else "all"))
    assert shown == [
        (["web1", "web2", "web3"], ["DB_PASSWORD"]),
        (["web8"], ["API_KEY"]),
        (["web5"], "all"),
        (["web7"], "all"),
        (["web9"], "all"),
        (["web1", "web2"], ["SMTP_PASSWORD"]),
    ]


def test_of_two_secrets_with_one_name_the_one_that_is_meant_is_shown(show: Open) -> None:
    graph = troubled()
    [secret] = [one for one in graph["secrets"] if one["name"] == "DB_PASSWORD"]
    graph["secrets"].append({**secret, "path": "/elsewhere"})
    for vault in graph["vaults"]:
        vault["holds"].append([len(graph["secrets"]) - 1, 1, vault["holds"][0][2]])
    page = show(graph)
    behind = page.tab.locator("#summary li", has_text="behind on DB_PASSWORD")
    assert behind.count() == 2
    for button in behind.locator(".show").all():
        button.click()
        assert page.secrets() == ["DB_PASSWORD"]


@pytest.mark.parametrize(
    ("tool", "text", "hosts", "secrets"),
    [
        ("hosts", "web1", ["web1", "web10"], 12),
        ("hosts", '"web1"', ["web1"], 12),
        ("hosts", '"WEB1"', [], 0),
        ("hosts", "*1*", ["web1", "web10"], 12),
        ("hosts", "web? shop", [f"web{number}" for number in range(1, 10)], 12),
        ("hosts", "nobody", [], 0),
        ("hosts", "web(", [], 0),
        ("secrets", "db_*", [f"web{number}" for number in range(1, 11)], 2),
        ("secrets", "s3 key", [f"web{number}" for number in range(1, 11)], 2),
        ("secrets", '"/common"', [f"web{number}" for number in range(1, 11)], 3),
        ("secrets", "Shop prod", [f"web{number}" for number in range(1, 11)], 12),
    ],
)
def test_a_filter_shows_what_fits(tool: str, text: str, hosts: list[str], secrets: int, show: Open) -> None:
    page = show(troubled())
    page.tab.locator("#row-order").select_option("name")
    page.filter(tool, text)
    assert (page.hosts(), len(page.secrets())) == (hosts, secrets)
    total = "10 vaults" if len(hosts) == 10 else f"{len(hosts)} of 10 vaults"
    assert page.tab.locator("#shown").inner_text().startswith(total)
    page.tab.locator("#reset").click()
    assert (len(page.hosts()), len(page.secrets())) == (10, 12)


def test_states_filter_and_their_counts_follow_the_other_filters(show: Open) -> None:
    page = show(troubled())
    behind = page.tab.locator(".chip", has_text="Behind")
    assert behind.locator(".count").inner_text() == "3"
    behind.click()
    assert (sorted(page.hosts()), page.secrets()) == (["web1", "web2", "web3"], ["DB_PASSWORD"])
    assert behind.get_attribute("aria-pressed") == "true"
    page.tab.locator(".chip", has_text="Missing").click()
    assert (sorted(page.hosts()), page.secrets()) == (["web1", "web2", "web3", "web8"], ["DB_PASSWORD", "API_KEY"])
    page.filter("hosts", '"web1"')
    assert (page.hosts(), page.secrets(), behind.locator(".count").inner_text()) == (["web1"], ["DB_PASSWORD"], "1")


@pytest.mark.parametrize(
    ("tool", "order", "first"),
    [
        ("row-order", "name", ["web1", "web2", "web3"]),
        ("row-order", "sync", ["web9", "web5", "web1"]),
        ("row-order", "worst", ["web7", "web9", "web5"]),
        ("column-order", "name", ["API_KEY", "DB_PASSWORD", "DB_USER"]),
        ("column-order", "place", ["S3_SECRET_KEY", "SESSION_KEY", "SMTP_PASSWORD"]),
        ("column-order", "changed", ["DB_PASSWORD", "API_KEY", "DB_USER"]),
        ("column-order", "worst", ["DB_PASSWORD", "API_KEY", "SMTP_PASSWORD"]),
    ],
)
def test_hosts_and_secrets_are_sorted(tool: str, order: str, first: list[str], show: Open) -> None:
    page = show(troubled())
    page.tab.locator(f"#{tool}").select_option(order)
    shown = page.hosts() if tool == "row-order" else page.secrets()
    assert shown[:3] == first


def test_cells_say_what_they_stand_for(show: Open) -> None:
    page = show(troubled())
    page.tab.locator("#row-order").select_option("name")
    page.tab.locator("#column-order").select_option("name")

    def said(host: int, secret: int) -> str:
        page.tab.locator(f'.cell[data-at="{host} {secret}"]').hover()
        return page.tab.locator("#detail").inner_text()

    assert "web1 shop, DB_PASSWORD (Shop prod /shop): behind: has version 3" in said(0, 1)
    assert "Infisical has version 4, changed 2 h ago" in said(0, 1)
    assert "missing: Infisical has version 4, the vault none" in said(7, 0)
    assert "current when last heard of: version 4" in said(4, 1)
    assert "This vault: stale, last sync 76 min ago (5 intervals)" in said(4, 1)
    assert "This vault: fails" in said(6, 1)
    assert "lacks 'Read Value'" in said(6, 1)


def test_cells_of_secrets_that_are_gone_or_of_an_unknown_version_say_so(show: Open) -> None:
    graph = troubled()
    graph["vaults"][9]["holds"][0][1] = 5
    page = show(graph)
    for host, secret, said in (
        ("web1", "SMTP_PASSWORD", "gone from Infisical, and still here: version 4"),
        ("web10", "DB_PASSWORD", "not known to Infisical in this version: version 5"),
    ):
        page.filter("hosts", f'"{host}"')
        page.filter("secrets", f'"{secret}"')
        page.tab.locator("#grid .cell").first.hover()
        assert said in page.tab.locator("#detail").inner_text()
    page.filter("hosts", "web4")
    page.filter("secrets", "SMTP_PASSWORD")
    page.tab.locator("#grid").focus()
    assert "not in the scope of this job" in page.tab.locator("#detail").inner_text()


def test_the_keyboard_reaches_everything(show: Open) -> None:
    tab = (page := show(troubled(40, 60))).tab
    stops = []
    for _stop in range(60):
        tab.keyboard.press("Tab")
        focused = (
            "const e = document.activeElement; e.id || e.getAttribute('class') || e.getAttribute('href') || e.tagName"
        )
        stops.append(tab.evaluate(f"(() => {{ {focused.replace('e.id ||', 'return e.id ||')} }})()"))
        visible = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        if stops[-1] not in ("BODY",) and "node" not in stops[-1]:
            assert tab.evaluate(visible), f"no sign of focus on {stops[-1]}"
        if "node" in stops[-1]:
            break
    wanted = [
        "skip",
        "#matrix",
        "theme",
        "quiet show",
        "hosts",
        "secrets",
        "vaults",
        "row-order",
        "reset",
        "chip",
        "grid",
    ]
    places = [stops.index(one) for one in wanted]
    assert places == sorted(places)
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.matches('.node')")

    tab.locator("#grid").focus()
    for key, place in (
        ("ArrowDown", "1 0"), ("ArrowRight", "1 1"), ("End", "1 59"), ("Control+End", "39 59"), ("ArrowDown", "39 59"),
        ("ArrowUp", "38 59"), ("Home", "38 0"), ("Control+Home", "0 0"), ("ArrowLeft", "0 0"),
    ):  # fmt: skip
        tab.keyboard.press(key)
        active = tab.locator(f"#{tab.locator('#grid').get_attribute('aria-activedescendant')}")
        assert active.get_attribute("data-at") == place
        box, grid = active.bounding_box(), tab.locator("#grid").bounding_box()
        assert box and grid
        assert grid["x"] <= box["x"] and box["x"] + box["width"] <= grid["x"] + grid["width"]
        assert grid["y"] <= box["y"] and box["y"] + box["height"] <= grid["y"] + grid["height"]
        assert active.get_attribute("aria-label") == tab.locator("#detail").inner_text()
    assert page.harm_done() == []


def test_a_box_of_the_drawn_graph_shows_itself_in_the_matrix(show: Open) -> None:
    page = show(troubled())
    page.tab.locator(".node.secret", has_text="API_KEY").focus()
    page.tab.keyboard.press("Enter")
    assert page.secrets() == ["API_KEY"]
    page.tab.locator(".node.vault", has_text="web10").click()
    assert (page.hosts(), len(page.secrets())) == (["web10"], 12)
    page.tab.locator(".node.project").click()
    assert (len(page.hosts()), len(page.secrets())) == (10, 12)


def test_a_box_with_a_hostile_name_shows_itself_alone(show: Open) -> None:
    page = show(hostile())
    boxes = page.tab.locator(".node.vault")
    assert boxes.count() == len(HOSTILE)
    shown = []
    for box in boxes.all():
        box.click()
        shown.append(page.hosts())
    assert [len(hosts) for hosts in shown] == [1] * len(HOSTILE)
    assert len({hosts[0] for hosts in shown}) == len(HOSTILE)


def test_a_name_full_of_stars_holds_nobody_up(show: Open) -> None:
    graph = troubled()
    graph["secrets"][0]["name"], graph["secrets"][1]["name"] = "*a" * 40 + "b", "a" * 400
    page = show(graph)
    page.tab.locator("#summary .show").first.click()
    assert page.secrets() == ["*a" * 40 + "b"]
    page.tab.locator("#reset").click()
    page.filter("secrets", "*a" * 40 + "b*")
    assert page.secrets() == ["*a" * 40 + "b"]
    for pattern, names in (("aa*", ["a" * 400]), ("*aB", ["*a" * 40 + "b"]), ("DB?USER", []), ("api?key", ["API_KEY"])):
        page.filter("secrets", pattern)
        assert page.secrets() == names, pattern


def test_a_long_name_keeps_the_page_as_wide_as_it_is(show: Open) -> None:
    graph = troubled()
    graph["secrets"][0]["name"] = "N" * 500
    page = show(graph)
    assert page.tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.tab.evaluate("[...document.querySelectorAll('.wide')].every(one => one.scrollWidth <= one.clientWidth)")


def test_an_older_secret_of_the_same_name_is_told_of(show: Open) -> None:
    graph = troubled()
    graph["vaults"][3]["holds"][0] = [0, 4, format_time(NOW - 90_000), None, "another-id"]
    page = show(graph)
    page.filter("hosts", "web4")
    page.filter("secrets", "DB_PASSWORD")
    cell = page.tab.locator("#grid .cell").first
    assert cell.get_attribute("data-lag") == "new"
    cell.hover()
    said = page.tab.locator("#detail").inner_text()
    assert "behind: has version 4" in said and "version 4 of a secret that was made anew" in said


def test_counts_follow_the_filter_of_secrets_and_a_filter_begins_at_the_top(show: Open) -> None:
    page = show(troubled(100, 40))
    grid = page.tab.locator("#grid")
    grid.evaluate("one => one.scrollTo(500, 500)")
    page.tab.wait_for_function("document.querySelector('#grid').scrollTop > 0")
    page.filter("secrets", "API_KEY")
    assert grid.evaluate("one => [one.scrollLeft, one.scrollTop]") == [0, 0]
    assert page.tab.locator(".chip", has_text="Missing").inner_text().split() == ["Missing", "1"]
    page.filter("secrets", "DB_USER")
    assert page.tab.locator(".chip", has_text="Missing").inner_text().split() == ["Missing", "0"]


def test_without_a_script_there_is_nothing_that_does_nothing(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "fleet.html"
    path.write_text(page(view(parsed(troubled()), NOW)), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(path.as_uri())
    assert tab.locator("noscript, .drawing, #attention table").filter(visible=True).count() >= 3
    assert tab.locator("input, select, button, #grid, #detail, .needs-script").filter(visible=True).count() == 0
    context.close()


def test_a_browser_that_is_too_old_for_the_matrix_says_so(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "fleet.html"
    path.write_text(page(view(parsed(troubled()), NOW)), encoding="utf-8")
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream;")
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.locator("#shown", has_text="too old for the matrix").wait_for()
    assert not tab.locator("#grid").is_visible()
    context.close()


def test_a_large_fleet_is_drawn_in_groups_that_can_be_read(show: Open) -> None:
    page = show(troubled(1000, 300))
    labels = page.tab.locator(".node text:not(.detail)").all_text_contents()
    assert len(labels) <= 4 * 24
    assert {"Shop", "Billing", "Search", "Mail", "prod /shop/web"} <= set(labels)
    assert any(label.startswith("9") and label.endswith("hosts") for label in labels)
    overflow = page.tab.locator(".drawing").evaluate("one => one.scrollWidth - one.clientWidth")
    assert overflow <= 0


def test_the_theme_is_the_system_s_until_it_is_switched(show: Open) -> None:
    page = show(healthy(), "dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.tab.evaluate(ground)
    page.tab.emulate_media(color_scheme="light")
    light = page.tab.evaluate(ground)
    assert dark != light
    page.tab.locator("#theme").click()
    page.tab.locator("#theme").click()
    assert page.tab.locator("#theme").inner_text() == "Theme: dark"
    assert page.tab.evaluate(ground) == dark
    page.tab.reload()
    assert page.tab.evaluate(ground) == dark


def test_paper_has_the_matrix_of_a_small_fleet_and_no_controls(show: Open) -> None:
    page = show(troubled())
    page.tab.emulate_media(media="print")
    page.tab.locator("#paper table").wait_for()
    assert page.tab.locator("#paper tbody tr").count() == 10
    assert page.tab.locator("#paper .s2").count() == 3
    assert not page.tab.locator("#grid, .tools, #theme, .show").filter(visible=True).count()
    page.tab.emulate_media(media="screen")
    page.tab.locator("#grid").wait_for()
    assert page.tab.locator("#paper table").count() == 0


def test_paper_says_how_to_print_part_of_a_large_matrix(show: Open) -> None:
    page = show(troubled(100, 40))
    page.tab.emulate_media(media="print")
    page.tab.locator("#paper p", has_text="filter it before printing").wait_for()
    page.tab.emulate_media(media="screen")
    page.filter("hosts", "web1*")
    page.tab.emulate_media(media="print")
    page.tab.locator("#paper p", has_text="filter it before printing").wait_for()
    page.tab.emulate_media(media="screen")
    page.filter("hosts", "")
    page.tab.locator(".chip", has_text="Missing").click()
    page.tab.emulate_media(media="print")
    page.tab.locator("#paper table").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_assistive_technology(scheme: str, show: Open) -> None:
    page = show(troubled(), scheme)
    found = Axe().run(page.tab)
    assert found.response["passes"], "the check itself did not run"
    assert [(one["id"], one["help"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []


def test_a_large_fleet_fits_into_the_page_and_a_filter_answers_at_once(show: Open) -> None:
    graph = troubled(1000, 300)
    assert len(page(view(parsed(graph), NOW)).encode()) < LARGEST_PAGE
    shown = show(graph)
    took = """async ([id, text]) => {
      const input = document.getElementById(id), times = [];
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
    # The best of five: the processors are shared with other tests.
    slowest = {
        text: shown.tab.evaluate(took, [tool, text]) for tool, text in (("hosts", "web1"), ("secrets", "*_KEY*"))
    }
    print(f"slowest filter in milliseconds: {slowest}")
    assert max(slowest.values()) < SLOWEST_FILTER
    shown.filter("secrets", "DB_PASSWORD")
    shown.filter("hosts", '"web1000"')
    assert shown.hosts() == ["web1000"]
    # Only what is in sight is in the document.
    shown.tab.locator("#reset").click()
    assert shown.tab.locator(".cell").count() < 3000
