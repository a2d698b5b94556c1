// The table of problems: sorted, filtered, searched, paged; a row opens to its rollouts. Every page gives its own columns.
const data = JSON.parse($("data").textContent);
const column = Object.fromEntries(data.columns.map((name, index) => [name, index]));
const get = (row, name) => (name in column ? row[column[name]] : null);

const whisk = (low, mid, high) => {
  if (low === null || high === null || mid === null) return null;
  const bar = make("span", { class: "whisk", "aria-hidden": "true" });
  const span = make("i"), dot = make("b");
  span.style.left = `${100 * low}%`; span.style.width = `${100 * (high - low)}%`; dot.style.left = `${100 * mid}%`;
  bar.append(span, dot);
  return bar;
};

// A rollout's text, and its tokens shaded by how unlikely each was when it was drawn.
const shade = (logprob) => (logprob === null ? "" : logprob < Math.log(0.01) ? "t3" : logprob < Math.log(0.1) ? "t2" : logprob < Math.log(0.5) ? "t1" : "");
const tokenText = (t) => make("pre", { class: "raw tokens", tabIndex: 0, "aria-label": "Tokens with their probabilities", role: "group" },
  ...t.pieces.map(([text, logprob]) => {
    const shown = text.trim() === "" && shade(logprob) ? text.replaceAll(" ", "␣").replaceAll("\n", "⏎\n") || "∅" : text;
    return make("span", { class: shade(logprob), textContent: shown, title: logprob === null ? "probability not recorded" : `p = ${plain(Math.exp(logprob))}, log p = ${nats(logprob)}` });
  }), t.piecesLeft ? make("span", { class: "none", textContent: ` […${count(t.piecesLeft)} more tokens]` }) : null);

const rollCard = (t) => {
  const facts = make("dl", { class: "kv" });
  const fact = (name, value) => facts.append(make("dt", { textContent: name }), make("dd", { class: "raw", textContent: value }));
  fact("extracted", t.extracted === null ? "nothing" : t.extracted);
  fact("finish", `${t.finish || "not recorded"}, ${count(t.tokens)} tokens`);
  fact("log π", t.logprob === null ? "not recorded" : `${nats(t.logprob)}${t.tokens ? `, ${nats(t.logprob / t.tokens)} per token` : ""}`);
  const lenient = t.lenient && t.verdict !== "pass" ? make("span", { class: "label", textContent: "lenient reading passes" }) : null;
  const whole = make("pre", { class: "raw", tabIndex: 0, textContent: t.text === "" ? "(empty)" : t.text });
  const card = make("article", { class: `roll v-${t.verdict}` },
    make("header", {}, make("h4", { textContent: t.verdict }), lenient, make("span", { class: "small muted", textContent: `${t.arm === "main" ? "" : `${t.arm}, `}draw ${t.i}` })),
    facts, whole);
  if (t.pieces) {
    const button = make("button", { class: "link small", type: "button", "aria-pressed": "false", textContent: "token probabilities" });
    let tokens = null;
    button.addEventListener("click", () => {
      tokens = tokens || tokenText(t);
      const on = button.getAttribute("aria-pressed") !== "true";
      (on ? whole : tokens).replaceWith(on ? tokens : whole);
      button.setAttribute("aria-pressed", String(on));
      button.textContent = on ? "plain text" : "token probabilities";
    });
    card.append(button);
  }
  return card;
};

const PAGE = 25;
const table = $("problem-table");
const groupRank = Object.fromEntries(data.groups.map((one, index) => [one.name, index]));
const groupTitle = Object.fromEntries(data.groups.map((one) => [one.name, one.title]));
const haystack = data.rows.map((row) => [row[column.id], get(row, "prompt"), get(row, "answer")].join("\n").toLowerCase());
const state = { sort: null, down: false, groups: new Set(), query: "", page: 0, open: new Set() };
const groupCell = (row) => [make("span", { class: `dotc class-${row[column.group]}` }), groupTitle[row[column.group]]];
const idColumn = { key: "id", title: "Problem", value: (row) => row[column.id].toLowerCase() };
const groupColumn = (title) => ({ key: "group", title, css: "nowrap", value: (row) => groupRank[row[column.group]], cell: groupCell });
const textColumn = (key, title, css) => ({ key, title, css, value: (row) => row[column[key]].toLowerCase(),
  cell: (row) => make("span", { class: "cut raw", textContent: row[column[key]] }) });

const showTable = (columns, detail) => {
  const head = make("tr");
  for (const one of columns) {
    const th = make("th", { scope: "col", class: one.css || "" });
    if (one.value) {
      const button = make("button", { class: "sort", type: "button", textContent: one.title });
      button.addEventListener("click", () => { state.down = state.sort === one.key ? !state.down : (one.css || "").includes("num"); state.sort = one.key; state.page = 0; draw(); });
      th.append(button);
    } else { th.append(make("span", { class: "sr", textContent: one.title })); }
    one.th = th;
    head.append(th);
  }
  table.tHead.replaceChildren(head);

  const chips = data.groups.filter((one) => data.groupTotals[one.name] > 0).map((one) => {
    const chip = make("button", { class: "chip", type: "button", "aria-pressed": "false" },
      make("span", { class: `dotc class-${one.name}` }), one.title, make("span", { class: "n", textContent: count(data.groupTotals[one.name]) }));
    chip.addEventListener("click", () => {
      if (state.groups.has(one.name)) state.groups.delete(one.name); else state.groups.add(one.name);
      chip.setAttribute("aria-pressed", String(state.groups.has(one.name)));
      state.page = 0; draw();
    });
    return { name: one.name, chip };
  });
  if (chips.length > 1) $("chips").append(...chips.map((one) => one.chip));
  const setGroups = (names) => { state.groups = new Set(names); for (const one of chips) one.chip.setAttribute("aria-pressed", String(state.groups.has(one.name))); };

  const matching = () => {
    const query = state.query.trim().toLowerCase();
    const hits = [];
    data.rows.forEach((row, index) => {
      if (state.groups.size && !state.groups.has(row[column.group])) return;
      if (query && !haystack[index].includes(query)) return;
      hits.push(index);
    });
    const by = columns.find((one) => one.key === state.sort);
    if (by) {
      const sign = state.down ? -1 : 1;
      const keys = new Map(hits.map((index) => [index, by.value(data.rows[index])]));
      hits.sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return (x < y ? -1 : x > y ? 1 : 0) * sign || a - b;
      });
    }
    return hits;
  };

  const toggle = (index) => {
    if (state.open.has(index)) state.open.delete(index); else state.open.add(index);
    draw();
    const button = $(`open-${index}`);
    if (button) button.focus();
  };

  const bodyRow = (index) => {
    const row = data.rows[index];
    const open = state.open.has(index);
    const button = make("button", { class: "open", type: "button", id: `open-${index}`, "aria-expanded": String(open) }, make("bdi", { textContent: row[column.id] }));
    if (open) button.setAttribute("aria-controls", `detail-${index}`);
    button.addEventListener("click", () => toggle(index));
    const cells = columns.map((one) => make("td", { class: one.css || "" }, ...[one.key === "id" ? button : one.cell(row)].flat()));
    cells[0].className = "id";
    return make("tr", { class: "row" }, ...cells);
  };
  const detailRow = (index) => make("tr", { class: "detail", id: `detail-${index}` },
    make("td", { colspan: String(columns.length) }, make("div", { class: "inner" }, ...detail(data.rows[index], index))));

  function draw() {
    const hits = matching();
    const pages = Math.max(1, Math.ceil(hits.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const shown = hits.slice(state.page * PAGE, (state.page + 1) * PAGE);
    const rows = shown.flatMap((index) => (state.open.has(index) ? [bodyRow(index), detailRow(index)] : [bodyRow(index)]));
    if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: String(columns.length), class: "none", textContent: "No embedded problem matches." })));
    table.tBodies[0].replaceChildren(...rows);
    for (const one of columns) {
      if (one.key === state.sort) one.th.setAttribute("aria-sort", state.down ? "descending" : "ascending"); else one.th.removeAttribute("aria-sort");
    }
    const from = hits.length ? state.page * PAGE + 1 : 0;
    $("count").textContent = `${count(from)}–${count(from ? from + shown.length - 1 : 0)} of ${count(hits.length)} matching`;
    $("previous").disabled = state.page === 0;
    $("following").disabled = state.page >= pages - 1;
    $("pager").hidden = false;
  }

  const reveal = (index) => {
    setGroups([]); state.query = ""; $("search").value = ""; state.sort = null; state.open.add(index);
    state.page = Math.floor(index / PAGE);
    draw();
    const button = $(`open-${index}`);
    button.focus({ preventScroll: true });
    button.scrollIntoView({ block: "start" });
  };
  for (const link of document.querySelectorAll("[data-row]")) link.addEventListener("click", () => reveal(Number(link.dataset.row)));
  $("search").addEventListener("input", (event) => { state.query = event.target.value; state.page = 0; draw(); });
  $("previous").addEventListener("click", () => { state.page -= 1; draw(); });
  $("following").addEventListener("click", () => { state.page += 1; draw(); });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); $("search").focus(); }
    if (event.key === "Escape" && event.target.id === "search") { event.target.value = ""; state.query = ""; draw(); }
    // On a problem's button: arrows go to the neighbours, Escape closes it; Enter and space are the button's own.
    if (!event.target.classList.contains("open")) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const all = [...table.querySelectorAll(".open")];
      const next = all[all.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1)];
      if (next) { event.preventDefault(); next.focus(); }
    }
    if (event.key === "Escape" && event.target.getAttribute("aria-expanded") === "true") toggle(Number(event.target.id.slice("open-".length)));
  });
  $("tools").hidden = false;
  draw();
};

const promptAndGold = (row) => make("div", { class: "io" },
  make("div", {}, make("h4", { textContent: "Prompt" }), make("div", { class: "raw mono", tabIndex: 0, textContent: get(row, "prompt") || "not recorded" })),
  make("div", {}, make("h4", { textContent: "Gold answer" }), make("div", { class: "raw mono", tabIndex: 0, textContent: get(row, "answer") || "not recorded" })));
const spaced = (words) => { const heading = make("h4", { textContent: words }); heading.style.marginTop = "1rem"; return heading; };

window.addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details:not(.data)")) one.open = true; });
