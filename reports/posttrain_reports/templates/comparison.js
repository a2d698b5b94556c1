// A comparison: problems with their fate and their success probability on both sides; a row opens to the rollouts of both.
const side = (row, which) => percentWith(get(row, `p_${which}`), get(row, `p_${which}_low`), get(row, `p_${which}_high`));
const passed = (row, which) => (get(row, `n_${which}`) === null ? UNDEFINED : `${count(get(row, `c_${which}`))} of ${count(get(row, `n_${which}`))}`);
const rate = (row, which) => (get(row, `n_${which}`) ? get(row, `c_${which}`) / get(row, `n_${which}`) : null);
const arrows = (row) => {
  const before = get(row, "p_before"), after = get(row, "p_after");
  if (before === null || after === null) return "";
  const bar = make("span", { class: "whisk", "aria-hidden": "true" });
  const line = make("i"), from = make("u"), to = make("b");
  line.style.left = `${100 * Math.min(before, after)}%`; line.style.width = `${100 * Math.abs(after - before)}%`;
  from.style.left = `${100 * before}%`; to.style.left = `${100 * after}%`;
  bar.append(line, from, to);
  return bar;
};
const FATES = { preserved: "kept", expanded: "gained", shrunk: "lost", outside: "outside" };

showTable([
  idColumn,
  groupColumn("Fate"),
  { key: "c_before", title: "Before", css: "num", value: (row) => rate(row, "before"), cell: (row) => passed(row, "before") },
  { key: "c_after", title: "After", css: "num", value: (row) => rate(row, "after"), cell: (row) => passed(row, "after") },
  { key: "change", title: "Change, points", css: "num", value: (row) => get(row, "change"), cell: (row) => signedPoints(get(row, "change")) },
  { key: "p_bar", title: "change drawn", css: "hide-s", value: null, cell: arrows },
  textColumn("prompt", "Prompt", "prompt hide-s"),
], (row, index) => {
  const facts = make("div", { class: "facts-row" },
    make("span", {}, "p before ", make("b", { textContent: side(row, "before") })), make("span", {}, "p after ", make("b", { textContent: side(row, "after") })));
  const fates = make("div", { class: "facts-row" }, "fate posterior");
  for (const [name, fate] of Object.entries(FATES)) {
    if (get(row, name) !== null) fates.append(make("span", {}, make("span", { class: `dotc class-${fate}` }), `${fate} `, make("b", { textContent: percent(get(row, name)) })));
  }
  const rolls = data.transcripts[String(index)] || { before: [], after: [] };
  const columns = ["before", "after"].map((which) => make("div", {}, spaced(`${which === "before" ? "Before" : "After"}: ${rolls[which].length ? `${rolls[which].length} of ${count(get(row, `n_${which}`))} rollouts` : "no rollout is embedded"}`),
    make("div", { class: "rolls one" }, ...rolls[which].map(rollCard))));
  return [promptAndGold(row), facts, fates, make("div", { class: "two" }, ...columns)];
});
