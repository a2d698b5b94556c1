// A diagnosis: problems with their class and success probability; a row opens to its prompt, figures and rollouts.
const interval = (row) => {
  const p = get(row, "p_mean"), low = get(row, "p_low"), high = get(row, "p_high");
  return p === null ? "not estimated" : low === null || high === null ? pct(p) : `${pct(p)} [${pct(low)}, ${pct(high)}]`;
};
const SHOWN_ELSEWHERE = ["id", "group", "prompt", "answer", "n", "c", "p_mean", "p_low", "p_high"];

showTable([
  idColumn,
  groupColumn("Class"),
  { key: "c", title: "Passed", css: "num", value: (row) => (get(row, "n") ? get(row, "c") / get(row, "n") : null), cell: (row) => `${num(get(row, "c"))} of ${num(get(row, "n"))}` },
  { key: "p_mean", title: "p and interval", css: "num", value: (row) => get(row, "p_mean"), cell: interval },
  { key: "p_bar", title: "interval drawn", css: "hide-s", value: null, cell: (row) => whisk(get(row, "p_low"), get(row, "p_mean"), get(row, "p_high")) || "" },
  textColumn("answer", "Gold answer", "hide-s hide-m"),
  textColumn("prompt", "Prompt", "prompt hide-s"),
], (row, index) => {
  const box = [promptAndGold(row)];
  const facts = make("div", { class: "facts-row" });
  const posterior = make("div", { class: "facts-row" }, "class posterior");
  for (const name of data.columns) {
    if (SHOWN_ELSEWHERE.includes(name) || get(row, name) === null) continue;
    if (name in data.posteriors) {
      posterior.append(make("span", {}, make("span", { class: `dotc class-${data.posteriors[name]}` }), `${data.posteriors[name]} `, make("b", { textContent: pct(get(row, name)) })));
      continue;
    }
    const value = name === "certified_zero" ? (get(row, name) ? "yes" : "no") : num(get(row, name));
    facts.append(make("span", {}, `${name.replaceAll("_", " ")} `, make("b", { textContent: value })));
  }
  if (facts.children.length) box.push(facts);
  if (posterior.children.length) box.push(posterior);
  const rolls = data.transcripts[String(index)] || [];
  const drawn = get(row, "n");
  const heading = rolls.length ? `Rollouts: ${rolls.length} shown${drawn ? `, ${count(drawn)} drawn in the main arm` : ""}` : "No rollout of this problem is embedded; the rollout store holds them all.";
  return [...box, spaced(heading), make("div", { class: "rolls" }, ...rolls.map(rollCard))];
});
