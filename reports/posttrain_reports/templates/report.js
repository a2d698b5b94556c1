"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, props = {}, ...kids) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(props)) {
      if (key === "class") node.className = value;
      else if (key.startsWith("aria-") || key === "role" || key === "colspan" || key === "scope") node.setAttribute(key, value);
      else node[key] = value;
    }
    node.append(...kids.filter((kid) => kid !== null && kid !== undefined));
    return node;
  };

  // Theme: follows the system until the reader chooses.
  const root = document.documentElement;
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const remember = (value) => { try { localStorage.setItem("posttrain-theme", value); } catch (error) { /* storage is off: the choice lasts for this page */ } };
  const recall = () => { try { return localStorage.getItem("posttrain-theme"); } catch (error) { return null; } };
  const themeButton = $("theme");
  const nameTheme = () => { themeButton.textContent = isDark() ? "Light theme" : "Dark theme"; };
  if (["dark", "light"].includes(recall())) root.dataset.theme = recall();
  themeButton.hidden = false;
  themeButton.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; remember(root.dataset.theme); nameTheme(); });
  systemDark.addEventListener("change", nameTheme);
  nameTheme();

  // Copy buttons: the clipboard API needs a permission some browsers withhold from file://, so there is a second way.
  const copyBySelection = (text) => {
    const area = make("textarea", { value: text, readOnly: true, class: "sr" });
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  };
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = $(button.dataset.copy);
      let done = false;
      try { await navigator.clipboard.writeText(code.textContent); done = true; } catch (error) { done = copyBySelection(code.textContent); }
      if (!done) window.getSelection().selectAllChildren(code);
      button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }

  // Per-problem table.
  const data = JSON.parse($("data").textContent);
  const column = Object.fromEntries(data.columns.map((name, index) => [name, index]));
  const PAGE = 25;
  const classRank = Object.fromEntries(data.classes.map((one, index) => [one.name, index]));
  const classTitle = Object.fromEntries(data.classes.map((one) => [one.name, one.title]));
  const haystack = data.rows.map((row) => [row[column.id], row[column.prompt], row[column.answer]].join("\n").toLowerCase());
  const state = { sort: null, down: false, classes: new Set(), query: "", page: 0, open: new Set() };
  const get = (row, name) => (name in column ? row[column[name]] : null);
  const pct = (x) => {
    if (x === null) return "–";
    const points = 100 * x;
    if (points === 0 || points === 100) return `${points}%`;
    if (points < 1e-3) return "<0.001%";
    if (points > 99.99) return ">99.99%";
    if (points > 99) return `${Math.floor(points * 100) / 100}%`;
    return points >= 10 ? `${points.toFixed(0)}%` : points >= 1 ? `${points.toFixed(1)}%` : `${Number(points.toPrecision(2))}%`;
  };
  const num = (x) => (x === null ? "–" : Math.abs(x) >= 1e-3 || x === 0 ? String(Number(x.toPrecision(4))) : x.toExponential(1));

  const COLUMNS = [
    { key: "id", title: "Problem", value: (row) => row[column.id].toLowerCase() },
    { key: "class", title: "Class", value: (row) => classRank[row[column.class]] },
    { key: "c", title: "Passed", css: "num", value: (row) => (get(row, "n") ? get(row, "c") / get(row, "n") : null) },
    { key: "p_mean", title: "p and interval", css: "num", value: (row) => get(row, "p_mean") },
    { key: "p_bar", title: "", css: "hide-s", value: null },
    { key: "answer", title: "Gold answer", css: "hide-s hide-m", value: (row) => row[column.answer].toLowerCase() },
    { key: "prompt", title: "Prompt", css: "hide-s", value: (row) => row[column.prompt].toLowerCase() },
  ];

  const table = $("problem-table");
  const head = make("tr");
  for (const one of COLUMNS) {
    const th = make("th", { scope: "col", class: one.css || "" });
    if (one.value) {
      const button = make("button", { class: "sort", type: "button", textContent: one.title });
      button.addEventListener("click", () => { state.down = state.sort === one.key ? !state.down : one.css === "num"; state.sort = one.key; state.page = 0; draw(); });
      th.append(button);
    } else { th.append(make("span", { class: "sr", textContent: "interval drawn" })); }
    one.th = th;
    head.append(th);
  }
  table.tHead.replaceChildren(head);

  const chips = data.classes.filter((one) => data.classTotals[one.name] > 0).map((one) => {
    const chip = make("button", { class: "chip", type: "button", "aria-pressed": "false" },
      make("span", { class: `dotc class-${one.name}` }), one.title, make("span", { class: "n", textContent: data.classTotals[one.name].toLocaleString("en") }));
    chip.addEventListener("click", () => {
      if (state.classes.has(one.name)) state.classes.delete(one.name); else state.classes.add(one.name);
      chip.setAttribute("aria-pressed", String(state.classes.has(one.name)));
      state.page = 0; draw();
    });
    return { name: one.name, chip };
  });
  if (chips.length > 1) $("chips").append(...chips.map((one) => one.chip));
  const setClasses = (names) => { state.classes = new Set(names); for (const one of chips) one.chip.setAttribute("aria-pressed", String(state.classes.has(one.name))); };

  const matching = () => {
    const query = state.query.trim().toLowerCase();
    const hits = [];
    data.rows.forEach((row, index) => {
      if (state.classes.size && !state.classes.has(row[column.class])) return;
      if (query && !haystack[index].includes(query)) return;
      hits.push(index);
    });
    const by = COLUMNS.find((one) => one.key === state.sort);
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

  const whisk = (row) => {
    const [low, mid, high] = ["p_low", "p_mean", "p_high"].map((name) => get(row, name));
    if (low === null || high === null || mid === null) return null;
    const bar = make("span", { class: "whisk", "aria-hidden": "true" });
    const span = make("i"), dot = make("b");
    span.style.left = `${100 * low}%`; span.style.width = `${100 * (high - low)}%`; dot.style.left = `${100 * mid}%`;
    bar.append(span, dot);
    return bar;
  };

  const rollCard = (t) => {
    const facts = make("dl", { class: "kv" });
    const fact = (name, value) => facts.append(make("dt", { textContent: name }), make("dd", { class: "raw", textContent: value }));
    fact("extracted", t.extracted === null ? "nothing" : t.extracted);
    fact("finish", `${t.finish || "not recorded"}, ${t.tokens.toLocaleString("en")} tokens`);
    fact("log π", t.logprob === null ? "not recorded" : `${num(t.logprob)} nats${t.tokens ? `, ${num(t.logprob / t.tokens)} per token` : ""}`);
    const lenient = t.lenient && t.verdict !== "pass" ? make("span", { class: "label", textContent: "lenient reading passes" }) : null;
    return make("article", { class: `roll v-${t.verdict}` },
      make("header", {}, make("h4", { textContent: t.verdict }), lenient, make("span", { class: "small muted", textContent: `${t.arm === "main" ? "" : `${t.arm}, `}draw ${t.i}` })),
      facts, make("pre", { class: "raw", tabIndex: 0, textContent: t.text === "" ? "(empty)" : t.text }));
  };

  const detail = (index) => {
    const row = data.rows[index];
    const box = make("div", { class: "inner" });
    box.append(make("div", { class: "io" },
      make("div", {}, make("h4", { textContent: "Prompt" }), make("div", { class: "raw mono", tabIndex: 0, textContent: row[column.prompt] || "not recorded" })),
      make("div", {}, make("h4", { textContent: "Gold answer" }), make("div", { class: "raw mono", tabIndex: 0, textContent: row[column.answer] || "not recorded" }))));
    const facts = make("div", { class: "facts-row" });
    const posterior = make("div", { class: "facts-row" }, "class posterior");
    for (const name of data.columns) {
      if (["id", "class", "prompt", "answer", "n", "c", "p_mean", "p_low", "p_high"].includes(name)) continue;
      if (get(row, name) === null) continue;
      if (name in data.posteriors) {
        posterior.append(make("span", {}, make("span", { class: `dotc class-${data.posteriors[name]}` }), `${data.posteriors[name]} `, make("b", { textContent: pct(get(row, name)) })));
        continue;
      }
      const value = name === "certified_zero" ? (get(row, name) ? "yes" : "no") : num(get(row, name));
      facts.append(make("span", {}, `${name.replaceAll("_", " ")} `, make("b", { textContent: value })));
    }
    if (facts.children.length) box.append(facts);
    if (posterior.children.length) box.append(posterior);
    const rolls = data.transcripts[String(index)] || [];
    const drawn = get(row, "n");
    const heading = make("h4", { textContent: rolls.length ? `Rollouts: ${rolls.length} shown${drawn ? `, ${drawn.toLocaleString("en")} drawn in the main arm` : ""}` : "No rollout of this problem is embedded; the rollout store holds them all." });
    heading.style.marginTop = "1rem";
    box.append(heading, make("div", { class: "rolls" }, ...rolls.map(rollCard)));
    return make("tr", { class: "detail", id: `detail-${index}` }, make("td", { colspan: String(COLUMNS.length) }, box));
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
    const p = get(row, "p_mean"), low = get(row, "p_low"), high = get(row, "p_high");
    const interval = p === null ? "not estimated" : low === null || high === null ? pct(p) : `${pct(p)} [${pct(low)}, ${pct(high)}]`;
    return make("tr", { class: "row" },
      make("td", { class: "id" }, button),
      make("td", { class: "nowrap" }, make("span", { class: `dotc class-${row[column.class]}` }), classTitle[row[column.class]]),
      make("td", { class: "num", textContent: `${num(get(row, "c"))} of ${num(get(row, "n"))}` }),
      make("td", { class: "num", textContent: interval }),
      make("td", { class: "hide-s" }, whisk(row)),
      make("td", { class: "hide-s hide-m" }, make("span", { class: "cut raw", textContent: row[column.answer] })),
      make("td", { class: "prompt hide-s" }, make("span", { class: "cut", textContent: row[column.prompt] })));
  };

  function draw() {
    const hits = matching();
    const pages = Math.max(1, Math.ceil(hits.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const shown = hits.slice(state.page * PAGE, (state.page + 1) * PAGE);
    const rows = shown.flatMap((index) => (state.open.has(index) ? [bodyRow(index), detail(index)] : [bodyRow(index)]));
    if (!rows.length) rows.push(make("tr", {}, make("td", { colspan: String(COLUMNS.length), class: "none", textContent: "No embedded problem matches." })));
    table.tBodies[0].replaceChildren(...rows);
    for (const one of COLUMNS) {
      if (one.key === state.sort) one.th.setAttribute("aria-sort", state.down ? "descending" : "ascending"); else one.th.removeAttribute("aria-sort");
    }
    const from = hits.length ? state.page * PAGE + 1 : 0;
    $("count").textContent = `${from.toLocaleString("en")}–${(from ? from + shown.length - 1 : 0).toLocaleString("en")} of ${hits.length.toLocaleString("en")} matching`;
    $("previous").disabled = state.page === 0;
    $("following").disabled = state.page >= pages - 1;
    $("pager").hidden = false;
  }

  const reveal = (index) => {
    setClasses([]); state.query = ""; $("search").value = ""; state.sort = null; state.open.add(index);
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
  });
  $("tools").hidden = false;
  draw();

  window.addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details:not(.data)")) one.open = true; });
})();
