// Copyright (c) 2026, keyfleet.infisical contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The report page: filter, sort, and the details of a row. Names are handled as text only.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });
  const words = (element) => element.textContent.replace(/\s+/g, " ").trim();
  const filter = document.getElementById("filter");
  const [secrets, hosts, matrix] = ["secrets", "hosts", "matrix"].map((id) => all(`#${id} tbody tr`));
  const rows = [...secrets, ...hosts];

  // Read before anything is added to the rows. The order of the columns in `cells` is that of the secrets now.
  const text = new Map(rows.map((row) => [row, words(row).toLowerCase()]));
  const name = new Map(rows.map((row) => [row, words(row.cells[0])]));
  const places = new Map();
  for (const row of secrets) places.set(name.get(row), (places.get(name.get(row)) || 0) + 1);
  const cells = hosts.map((row) => row.dataset.cells.replace(/(\d+)(\D)/g, (_, times, code) => code.repeat(times)));
  const NAMES = { m: "missing", g: "gone", u: "unknown", s: "stale", c: "current" };
  const ORDER = ["behind", "missing", "gone", "unknown", "stale", "current"];
  const details = new Map();

  // Details: the hosts of a secret, or the secrets of a host, by state.

  function label(row, code) {
    const behind = code.charCodeAt(0) - 65;
    const lag = !/[A-Z]/.test(code) ? "" : behind ? ` (−${behind})` : " (created again)";
    const needsPlace = !row.dataset.cells && places.get(name.get(row)) > 1;
    return `${name.get(row)}${needsPlace ? ` (${words(row.cells[1])})` : ""}${lag}`;
  }

  function detailsOf(row) {
    const at = secrets.indexOf(row);
    const pairs = at < 0
      ? secrets.map((one, column) => [one, cells[hosts.indexOf(row)][column]])
      : hosts.map((one, line) => [one, cells[line][at]]);
    const list = make("dl");
    for (const state of ORDER) {
      const found = pairs.filter(([, code]) => code !== "." && (NAMES[code] || "behind") === state);
      if (!found.length) continue;
      const names = make("dd");
      for (const [one, code] of found) names.append(names.childNodes.length ? ", " : "", make("bdi", label(one, code)));
      const term = make("dt");
      term.append(Object.assign(make("i"), { className: `mark ${state}` }), ` ${state} ${found.length}`);
      list.append(term, names);
    }
    const line = make("tr");
    line.className = "details";
    line.append(Object.assign(make("td"), { colSpan: row.cells.length }));
    line.cells[0].append(list.childNodes.length ? list : make("p", at < 0 ? "This host has no secrets." : "No host has this secret."));
    return line;
  }

  function toggle(row, button) {
    const isOpen = details.has(row);
    if (isOpen) {
      details.get(row).remove();
      details.delete(row);
    } else {
      details.set(row, detailsOf(row));
      row.after(details.get(row));
    }
    button.setAttribute("aria-expanded", !isOpen);
  }

  for (const row of rows) {
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-expanded", false);
    button.append(...row.cells[0].childNodes);
    row.cells[0].append(button);
    button.addEventListener("click", () => toggle(row, button));
  }

  // The filter: rows that contain its text. The matrix has the rows of the hosts.

  function apply() {
    const wanted = filter.value.replace(/\s+/g, " ").trim().toLowerCase();
    for (const row of rows) row.hidden = !text.get(row).includes(wanted);
    for (const [row, line] of details) line.hidden = row.hidden;
    matrix.forEach((line, at) => { line.hidden = hosts[at].hidden; });
    const number = (some) => some.length.toLocaleString("en");
    const counted = (some, what) => `${number(some.filter((row) => !row.hidden))} of ${number(some)} ${what}`;
    document.getElementById("shown").textContent = `${counted(secrets, "secrets")}, ${counted(hosts, "hosts")}`;
  }

  filter.addEventListener("input", apply);
  for (const button of all("[data-find]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      filter.value = button.dataset.find;
      apply();
      filter.scrollIntoView();
      filter.focus();
    });
  }

  // Sorting: by a column's text or number; numbers and times begin with the greatest.

  const compare = new Intl.Collator("en", { numeric: true }).compare;

  function sort(heading, body, sorted) {
    const at = heading.cellIndex, isNumber = heading.classList.contains("n");
    const now = heading.getAttribute("aria-sort");
    const descends = now ? now === "ascending" : isNumber;
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descends ? "descending" : "ascending");
    const key = new Map(sorted.map((row) => [row, isNumber ? +row.cells[at].dataset.value : words(row.cells[at])]));
    const order = (a, b) => isNumber ? key.get(a) - key.get(b) : compare(key.get(a), key.get(b));
    sorted.sort((a, b) => descends ? order(b, a) : order(a, b));
    body.append(...sorted.flatMap((row) => details.has(row) ? [row, details.get(row)] : [row]));
  }

  for (const [id, sorted] of [["secrets", [...secrets]], ["hosts", [...hosts]]]) {
    const body = document.querySelector(`#${id} tbody`);
    for (const heading of all(`#${id} thead th`)) {
      const button = make("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(heading, body, sorted));
    }
  }

  document.querySelector("search").hidden = false;
  apply();
})();
