// Copyright (c) 2026, keyfleet.infisical contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later
// The fleet report's page: the matrix with its filters, and the theme. Names get into the page as text only.
"use strict";

(() => {
  const CURRENT = 1, BEHIND = 2, MISSING = 3, STALE = 4, GONE = 5, UNKNOWN = 6;
  const SYNCS = ["", "fails", "stale", "never synced", "no answer"];
  // How much a state adds to what there is to do about a host or a secret.
  const WEIGHT = [0, 0, 100, 100, 1, 10, 1];
  const VAULT_WEIGHT = [0, 5000, 3000, 4000, 3500];
  const WIDTH = 34, HEIGHT = 28, SPARE = 3;
  const PAPER = { rows: 60, columns: 32 };

  const $ = (id) => document.getElementById(id);
  const number = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

  function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  const data = JSON.parse($("data").textContent);

  function ago(seconds) {
    if (!seconds) return "at an unknown time";
    const past = Math.max(0, data.now - seconds);
    for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (past >= 2 * length) return `${Math.floor(past / length)} ${unit} ago`;
    }
    return `${past} s ago`;
  }

  // Data

  const columns = data.columns.map(([name, place, version, updated, gone]) => {
    const [project, projectName, environment, path] = data.places[place];
    const fields = [name, projectName, environment, path, project];
    return { name, place: `${projectName} ${environment} ${path}`, version, updated, gone, fields, words: lower(fields) };
  });
  const rows = data.rows.map(([host, job, state, sync, intervals, why, count]) => {
    const fields = [host, job];
    return { host, job, state, sync, intervals, why, count, fields, words: lower(fields) };
  });

  // The column of names is as wide as the longest needs, within bounds.
  const longest = rows.reduce((most, { host, job }) => Math.max(most, host.length + job.length), 0);
  const SIDE = Math.min(Math.max(120 + 7.5 * longest, 190), 360);
  document.documentElement.style.setProperty("--side", `${SIDE}px`);

  function lower(fields) {
    return fields.map((field) => field.toLowerCase());
  }

  // Cells, row by row and in the order of columns, in as much memory as there are cells: a row's are from its number in
  // `starts` up to that of the next.
  const starts = new Uint32Array(rows.length + 1);
  rows.forEach((row, at) => { starts[at + 1] = starts[at] + row.count; });
  let places, versions, times, states;

  async function unpack() {
    const packed = Uint8Array.from(atob(data.cells), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = await new Response(stream).arrayBuffer();
    const count = starts[rows.length];
    const view = new DataView(bytes);
    const part = (which) => Uint32Array.from({ length: count }, (_, at) => view.getUint32(4 * (which * count + at), true));
    places = part(0);
    versions = part(1);
    times = part(2);
    states = new Uint8Array(bytes, 12 * count, count);
    delete data.cells;
  }

  // The number of a row's cell in a column, -1 where there is none.
  function find(row, column) {
    let low = starts[row], high = starts[row + 1] - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (places[middle] === column) return middle;
      if (places[middle] < column) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  // Filter and sort

  const filter = { hosts: "", secrets: "", vaults: "", states: new Set(), rowOrder: "worst", columnOrder: "worst" };
  let shownRows = [], shownColumns = [];

  // Words that must all fit: a quoted word is a whole field to the letter, a pattern (* and ?) fits one, another word any
  // part of it.
  function matcher(text) {
    const tests = [...text.matchAll(/"((?:[^"]|"")*)"|(\S+)/g)].map(([, exact, word]) => {
      if (exact !== undefined) {
        const wanted = exact.replaceAll('""', '"');
        return ({ fields }) => fields.includes(wanted);
      }
      const wanted = word.toLowerCase();
      const test = /[*?]/.test(wanted) ? (field) => fits(field, wanted) : (field) => field.includes(wanted);
      return ({ words }) => words.some(test);
    });
    return (one) => tests.every((test) => test(one));
  }

  // Whether a text fits a pattern. A regular expression would take for ever with many stars, and names may have them.
  function fits(text, pattern) {
    let at = 0, star = -1, after = 0;
    for (let next = 0; next < text.length || at < pattern.length;) {
      if (pattern[at] === "*") {
        star = at++;
        after = next;
      } else if (next < text.length && (pattern[at] === "?" || pattern[at] === text[next])) {
        at++;
        next++;
      } else if (star >= 0 && after < text.length) {
        at = star + 1;
        next = ++after;
      } else return false;
    }
    return true;
  }

  // Names are compared once, and then by their ranks.
  const collate = new Intl.Collator("en", { numeric: true }).compare;

  function ranks(list, ...keys) {
    const order = [...list.keys()].sort((a, b) => {
      for (const key of keys) {
        const order = collate(list[a][key], list[b][key]);
        if (order) return order;
      }
      return a - b;
    });
    const found = new Uint32Array(list.length);
    order.forEach((at, rank) => { found[at] = rank; });
    return found;
  }

  const byHost = ranks(rows, "host", "job"), byName = ranks(columns, "name", "place"), byPlace = ranks(columns, "place", "name");
  const ROW_ORDERS = {
    worst: (weights) => (a, b) => weights[b] - weights[a] || byHost[a] - byHost[b],
    name: () => (a, b) => byHost[a] - byHost[b],
    sync: () => (a, b) => rows[a].sync - rows[b].sync || byHost[a] - byHost[b],
  };
  const COLUMN_ORDERS = {
    worst: (weights) => (a, b) => weights[b] - weights[a] || byName[a] - byName[b],
    name: () => (a, b) => byName[a] - byName[b],
    place: () => (a, b) => byPlace[a] - byPlace[b],
    changed: () => (a, b) => columns[b].updated - columns[a].updated || byName[a] - byName[b],
  };

  function apply() {
    const ofHost = matcher(filter.hosts), ofSecret = matcher(filter.secrets);
    const indexes = (list) => [...list.keys()];
    let across = indexes(columns).filter((at) => ofSecret(columns[at]));
    let down = indexes(rows).filter((at) => ofHost(rows[at]) && (filter.vaults === "" || rows[at].state === +filter.vaults));
    const counts = new Array(WEIGHT.length).fill(0);
    const wanted = new Uint8Array(WEIGHT.length);
    filter.states.forEach((state) => { wanted[state] = 1; });
    const rowWeights = new Float64Array(rows.length), columnWeights = new Float64Array(columns.length);
    const rowWanted = new Uint8Array(rows.length), columnWanted = new Uint8Array(columns.length);
    const isAcross = new Uint8Array(columns.length);
    for (const column of across) isAcross[column] = 1;
    for (const row of down) {
      rowWeights[row] = VAULT_WEIGHT[rows[row].state];
      for (let entry = starts[row]; entry < starts[row + 1]; entry++) {
        const column = places[entry], state = states[entry];
        if (!isAcross[column]) continue;
        counts[state]++;
        rowWeights[row] += WEIGHT[state];
        columnWeights[column] += WEIGHT[state];
        if (wanted[state]) rowWanted[row] = columnWanted[column] = 1;
      }
    }
    if (filter.states.size) {
      down = down.filter((row) => rowWanted[row]);
      across = across.filter((column) => columnWanted[column]);
    }
    shownRows = down.sort(ROW_ORDERS[filter.rowOrder](rowWeights));
    shownColumns = across.sort(COLUMN_ORDERS[filter.columnOrder](columnWeights));
    for (const chip of document.querySelectorAll(".chip")) {
      chip.querySelector(".count").textContent = counts[chip.dataset.state].toLocaleString("en");
    }
    const of = (shown, all, noun) => (shown === all ? number(all, noun) : `${shown.toLocaleString("en")} of ${number(all, noun)}`);
    $("shown").textContent = `${of(down.length, rows.length, "vault")} and ${of(across.length, columns.length, "secret")}`;
    active = { row: 0, column: 0 };
    build();
    if (scrolled) grid.scrollTo(0, 0);
    scrolled = false;
  }

  // Matrix: only what is in sight is in the document.

  const grid = $("grid");
  const space = make("div", "space"), head = make("div", "head"), empty = make("p", "empty");
  space.setAttribute("role", "rowgroup");
  head.setAttribute("role", "row");
  head.setAttribute("aria-rowindex", 1);
  space.append(head);
  grid.append(space);
  let active = { row: 0, column: 0 }, drawn = "";

  // Known sizes, because to ask for them after each change would lay out the page again. The height is what the grid may
  // have at most.
  let top = 0, width = 0, height = 0;

  function measure() {
    top = head.offsetHeight;
    width = grid.clientWidth;
    height = Math.max(grid.clientHeight, Math.min(innerHeight * 0.7, 46 * 16));
  }

  function build() {
    drawn = "";
    grid.setAttribute("aria-rowcount", shownRows.length + 1);
    grid.setAttribute("aria-colcount", shownColumns.length + 1);
    if (!shownRows.length || !shownColumns.length) {
      empty.textContent = rows.length ? "Nothing fits the filters." : "No host has told of a vault yet.";
      grid.removeAttribute("aria-activedescendant");
      grid.replaceChildren(empty);
      return;
    }
    if (!space.isConnected) grid.replaceChildren(space);
    space.style.width = `${SIDE + shownColumns.length * WIDTH + 6}px`;
    space.style.height = `${top + shownRows.length * HEIGHT + 4}px`;
    draw(0, 0);
  }

  function draw(left = grid.scrollLeft, down = grid.scrollTop) {
    if (!space.isConnected || !shownRows.length) return;
    const clamp = (value, last) => Math.min(Math.max(value, 0), last);
    const firstRow = clamp(Math.floor(down / HEIGHT) - SPARE, shownRows.length);
    const lastRow = clamp(Math.ceil((down + height - top) / HEIGHT) + SPARE, shownRows.length);
    const firstColumn = clamp(Math.floor(left / WIDTH) - SPARE, shownColumns.length);
    const lastColumn = clamp(Math.ceil((left + width - SIDE) / WIDTH) + SPARE, shownColumns.length);
    const wanted = [firstRow, lastRow, firstColumn, lastColumn, active.row, active.column].join();
    if (wanted === drawn) return;
    drawn = wanted;

    const corner = make("div", "corner", "Host and job");
    corner.setAttribute("role", "columnheader");
    const labels = [corner];
    for (let at = firstColumn; at < lastColumn; at++) labels.push(columnHeader(at));
    head.replaceChildren(...labels);

    const lines = [];
    for (let at = firstRow; at < lastRow; at++) {
      const line = make("div", at === active.row ? "row on" : "row");
      line.setAttribute("role", "row");
      line.setAttribute("aria-rowindex", at + 2);
      line.style.top = `${top + at * HEIGHT}px`;
      line.append(rowHeader(rows[shownRows[at]]));
      for (let across = firstColumn; across < lastColumn; across++) {
        const isActive = at === active.row && across === active.column;
        if (isActive || stateAt(at, across)) line.append(cell(at, across, isActive));
      }
      lines.push(line);
    }
    space.replaceChildren(head, ...lines);
    const now = $("active");
    if (now) grid.setAttribute("aria-activedescendant", "active");
    else grid.removeAttribute("aria-activedescendant");
  }

  function columnHeader(at) {
    const column = columns[shownColumns[at]];
    const label = make("div", at === active.column ? "colhead on" : "colhead");
    label.setAttribute("role", "columnheader");
    label.setAttribute("aria-colindex", at + 2);
    label.style.left = `${SIDE + at * WIDTH}px`;
    label.title = `${column.name}\n${column.place}`;
    label.append(make("span", "", column.name), make("span", "place", column.place));
    return label;
  }

  function rowHeader(row) {
    const label = make("div", "rowhead");
    label.setAttribute("role", "rowheader");
    label.setAttribute("aria-colindex", 1);
    label.title = [`${row.host} ${row.job}`, syncText(row)].join("\n");
    label.append(make("span", "name", row.host), make("span", "job", row.job));
    if (row.state) label.append(make("span", "badge", SYNCS[row.state]));
    return label;
  }

  function cell(at, across, isActive) {
    const state = stateAt(at, across);
    const element = make("div", `cell s${state}${isActive ? " active" : ""}`);
    element.setAttribute("role", "gridcell");
    element.setAttribute("aria-colindex", across + 2);
    element.style.left = `${SIDE + across * WIDTH + 1}px`;
    element.dataset.at = `${at} ${across}`;
    if (state === BEHIND) element.dataset.lag = lag(at, across);
    if (isActive) {
      element.id = "active";
      element.setAttribute("aria-label", text(at, across));
    }
    return element;
  }

  function entryAt(at, across) {
    return find(shownRows[at], shownColumns[across]);
  }

  function stateAt(at, across) {
    return states[entryAt(at, across)] ?? 0;
  }

  function lag(at, across) {
    const behind = columns[shownColumns[across]].version - versions[entryAt(at, across)];
    // Of a secret that was deleted and made again, versions begin anew.
    return behind > 99 ? "99" : behind > 0 ? String(behind) : "new";
  }

  function syncText(row) {
    if (!row.sync) return row.state === 4 ? "no sync is known of" : `has never synced${row.why ? `: ${row.why}` : ""}`;
    const intervals = row.intervals === null ? "" : ` (${number(Math.floor(row.intervals), "interval")})`;
    return `last sync ${ago(row.sync)}${intervals}${row.why ? `; ${row.why}` : ""}`;
  }

  function text(at, across) {
    const row = rows[shownRows[at]], column = columns[shownColumns[across]];
    const entry = entryAt(at, across), state = states[entry] ?? 0;
    const has = `version ${versions[entry]}, synced ${ago(times[entry])}`;
    const said = {
      0: "not in the scope of this job",
      [CURRENT]: `current: ${has}`,
      [BEHIND]: `behind: has ${has}; Infisical has version ${column.version}` +
        (versions[entry] < column.version ? "" : " of a secret that was made anew") +
        (column.updated ? `, changed ${ago(column.updated)}` : ""),
      [MISSING]: `missing: Infisical has version ${column.version}, the vault none`,
      [STALE]: `current when last heard of: ${has}`,
      [GONE]: `gone from Infisical, and still here: ${has}`,
      [UNKNOWN]: `not known to Infisical in this version: ${has}`,
    }[state];
    const sync = row.state ? ` This vault: ${SYNCS[row.state]}, ${syncText(row)}.` : "";
    return `${row.host} ${row.job}, ${column.name} (${column.place}): ${said}.${sync}`;
  }

  function show(at, across) {
    $("detail").textContent = text(at, across);
  }

  function moveTo(row, column) {
    active = {
      row: Math.min(Math.max(row, 0), shownRows.length - 1),
      column: Math.min(Math.max(column, 0), shownColumns.length - 1),
    };
    const x = active.column * WIDTH, y = active.row * HEIGHT;
    const across = grid.clientWidth - SIDE, down = grid.clientHeight - top;
    if (x < grid.scrollLeft) grid.scrollLeft = x;
    else if (x + WIDTH > grid.scrollLeft + across) grid.scrollLeft = x + WIDTH + 6 - across;
    if (y < grid.scrollTop) grid.scrollTop = y;
    else if (y + HEIGHT > grid.scrollTop + down) grid.scrollTop = y + HEIGHT + 4 - down;
    draw();
    show(active.row, active.column);
  }

  grid.addEventListener("keydown", (event) => {
    if (!shownRows.length || !shownColumns.length || event.altKey || event.metaKey) return;
    const { row, column } = active, all = event.ctrlKey;
    const page = Math.max(1, Math.floor((grid.clientHeight - top) / HEIGHT) - 1);
    const to = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      PageUp: [row - page, column], PageDown: [row + page, column],
      Home: [all ? 0 : row, 0], End: [all ? Infinity : row, Infinity],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    moveTo(...to);
  });
  grid.addEventListener("focus", () => {
    if (shownRows.length && shownColumns.length) show(active.row, active.column);
  });
  const pointed = (event) => event.target.closest?.(".cell")?.dataset.at?.split(" ").map(Number);
  grid.addEventListener("pointerover", (event) => {
    const at = pointed(event);
    if (at) show(...at);
  });
  grid.addEventListener("click", (event) => {
    const at = pointed(event);
    if (at) moveTo(...at);
  });
  let waiting = false, scrolled = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };
  grid.addEventListener("scroll", () => {
    scrolled = true;
    later();
  }, { passive: true });
  const resized = () => {
    measure();
    later();
  };
  new ResizeObserver(resized).observe(grid);
  addEventListener("resize", resized);

  // Tools

  const inputs = { hosts: "hosts", secrets: "secrets", vaults: "vaults", "row-order": "rowOrder", "column-order": "columnOrder" };

  function setFilter(wanted) {
    Object.assign(filter, { hosts: "", secrets: "", vaults: "", states: new Set() }, wanted);
    for (const [id, key] of Object.entries(inputs)) $(id).value = filter[key];
    pressChips();
    apply();
  }

  function pressChips() {
    for (const chip of document.querySelectorAll(".chip")) {
      chip.setAttribute("aria-pressed", filter.states.has(+chip.dataset.state));
    }
  }

  function go(wanted) {
    setFilter(wanted);
    $("matrix").scrollIntoView();
    grid.focus({ preventScroll: true });
  }

  for (const [id, key] of Object.entries(inputs)) {
    $(id).addEventListener("input", (event) => {
      filter[key] = event.target.value;
      apply();
    });
  }
  $("reset").addEventListener("click", () => setFilter({ rowOrder: "worst", columnOrder: "worst" }));
  for (const chip of document.querySelectorAll(".chip")) {
    chip.addEventListener("click", () => {
      const state = +chip.dataset.state;
      if (!filter.states.delete(state)) filter.states.add(state);
      pressChips();
      apply();
    });
  }
  for (const button of document.querySelectorAll(".show")) {
    button.hidden = false;
    const { state, vault, secret } = button.dataset;
    button.addEventListener("click", () => go({ secrets: secret, vaults: vault, states: new Set(state ? [+state] : []) }));
  }

  // Drawn graph: one stop of the tab key, then the arrow keys from box to box.

  const nodes = [...document.querySelectorAll(".node")];
  const choose = (node) => {
    if (node.getAttribute("role") === "button") go({ hosts: node.dataset.host, secrets: node.dataset.secret });
  };
  for (const [at, node] of nodes.entries()) {
    node.addEventListener("click", () => choose(node));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
      if (event.key === "Enter" || event.key === " ") choose(node);
      else if (step && nodes[at + step]) {
        node.setAttribute("tabindex", -1);
        nodes[at + step].setAttribute("tabindex", 0);
        nodes[at + step].focus();
      } else return;
      event.preventDefault();
    });
  }

  // Theme

  const THEMES = ["automatic", "light", "dark"];

  function setTheme(theme) {
    if (theme === "automatic") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    $("theme").textContent = `Theme: ${theme}`;
  }

  // A browser may forbid a page from a file to remember anything.
  function remembered(theme) {
    try {
      if (theme) localStorage.setItem("keyfleet-theme", theme);
      return localStorage.getItem("keyfleet-theme");
    } catch {
      return theme;
    }
  }

  let theme = THEMES.includes(remembered()) ? remembered() : "automatic";
  setTheme(theme);
  $("theme").hidden = false;
  $("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remembered(theme);
    setTheme(theme);
  });

  // Paper: a small matrix as a table; a large one nobody could read there.

  function toPaper() {
    const paper = $("paper");
    const filtered = $("shown").textContent;
    if (shownRows.length > PAPER.rows || shownColumns.length > PAPER.columns || !shownRows.length || !shownColumns.length) {
      const limit = `${PAPER.rows} vaults and ${PAPER.columns} secrets`;
      paper.replaceChildren(make("p", "muted", `${filtered}: the matrix is printed up to ${limit}; filter it before printing.`));
      return;
    }
    const table = make("table"), header = make("thead"), body = make("tbody"), first = make("tr");
    first.append(make("th", "", "Host and job"));
    for (const at of shownColumns) {
      const label = make("th");
      label.append(make("span", "", columns[at].name));
      first.append(label);
    }
    header.append(first);
    shownRows.forEach((at, down) => {
      const line = make("tr");
      const sync = SYNCS[rows[at].state];
      line.append(make("th", "", `${rows[at].host} ${rows[at].job}${sync ? ` (${sync})` : ""}`));
      shownColumns.forEach((_, across) => {
        const place = make("td"), state = stateAt(down, across);
        if (state) {
          const mark = make("div", `cell s${state}`);
          if (state === BEHIND) mark.dataset.lag = lag(down, across);
          place.append(mark);
        }
        line.append(place);
      });
      body.append(line);
    });
    table.append(header, body);
    paper.replaceChildren(make("p", "muted", filtered), table);
  }

  function fromPaper() {
    $("paper").replaceChildren();
    for (const details of document.querySelectorAll("details[data-opened]")) {
      details.open = false;
      delete details.dataset.opened;
    }
  }

  function paper(on) {
    fromPaper();
    if (!on) return;
    toPaper();
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      details.dataset.opened = "";
    }
  }

  for (const element of document.querySelectorAll(".tools, .chips, #grid, #detail, .needs-script")) element.hidden = false;
  unpack().then(() => {
    measure();
    apply();
    grid.removeAttribute("aria-busy");
    addEventListener("beforeprint", () => paper(true));
    addEventListener("afterprint", () => paper(false));
    matchMedia("print").addEventListener("change", (event) => paper(event.matches));
  }).catch(() => {
    $("shown").textContent = "This browser is too old for the matrix. The CSV file has all that is in it.";
    $("grid").hidden = true;
  });
})();
