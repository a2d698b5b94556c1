// A diagnosis: problems with their class and success probability; a row opens to its prompt, figures and rollouts.
const interval = (row) => percentWith(get(row, "p_mean"), get(row, "p_low"), get(row, "p_high"));
// A column of the details in the unit its name asks for.
const detailed = (name, x) => (name === "certified_zero" ? (x ? "yes" : "no") : name.endsWith("_nats") ? nats(x) : data.shares.includes(name) ? percent(x) : plain(x));
const SHOWN_ELSEWHERE = ["id", "group", "prompt", "answer", "n", "c", "p_mean", "p_low", "p_high"];

showTable([
  idColumn,
  groupColumn("Class"),
  { key: "c", title: "Passed", css: "num", value: (row) => (get(row, "n") ? get(row, "c") / get(row, "n") : null), cell: (row) => `${count(get(row, "c"))} of ${count(get(row, "n"))}` },
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
      posterior.append(make("span", {}, make("span", { class: `dotc class-${data.posteriors[name]}` }), `${data.posteriors[name]} `, make("b", { textContent: percent(get(row, name)) })));
      continue;
    }
    facts.append(make("span", {}, `${name.replaceAll("_", " ")} `, make("b", { textContent: detailed(name, get(row, name)) })));
  }
  if (facts.children.length) box.push(facts);
  if (posterior.children.length) box.push(posterior);
  const rolls = data.transcripts[String(index)] || [];
  const drawn = get(row, "n");
  const heading = rolls.length ? `Rollouts: ${rolls.length} shown${drawn ? `, ${count(drawn)} drawn in the main arm` : ""}` : "No rollout of this problem is embedded; the rollout store holds them all.";
  return [...box, spaced(heading), make("div", { class: "rolls" }, ...rolls.map(rollCard))];
});
