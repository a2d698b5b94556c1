// The index of runs: its rows are in the page already; they are sorted by the header's buttons, searched and filtered.
const runs = $("runs");
if (runs) {
  const rows = [...runs.tBodies[0].rows];
  const keys = rows.map((row) => [...row.cells].map((cell) => {
    const text = cell.dataset.sort, number = Number(text);
    return text === "" ? null : Number.isFinite(number) ? number : text.toLowerCase();
  }));
  const haystack = rows.map((row) => row.textContent.toLowerCase());
  const chosen = { kind: new Set(), state: new Set() };
  const order = rows.map((_, index) => index);
  const show = () => {
    const query = $("search").value.trim().toLowerCase();
    let shown = 0;
    rows.forEach((row, index) => {
      row.hidden = !haystack[index].includes(query) || ["kind", "state"].some((group) => chosen[group].size && !chosen[group].has(row.dataset[group]));
      if (!row.hidden) shown += 1;
    });
    $("count").textContent = shown === rows.length ? "" : `${count(shown)} of ${count(rows.length)} runs`;
    $("none").hidden = shown > 0;
  };
  [...runs.tHead.rows[0].cells].forEach((th, at) => {
    const button = make("button", { class: "sort", type: "button", textContent: th.textContent });
    const falling = ["confidence", "pass", "when"].includes(th.dataset.key);
    button.addEventListener("click", () => {
      const now = th.getAttribute("aria-sort");
      const down = now === null ? falling : now === "ascending";
      for (const other of runs.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      order.sort((a, b) => {
        const x = keys[a][at], y = keys[b][at];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1) || a - b;
      });
      runs.tBodies[0].append(...order.map((index) => rows[index]));
    });
    th.replaceChildren(button);
  });
  for (const chip of document.querySelectorAll(".chip[data-group]")) {
    chip.addEventListener("click", () => {
      const set = chosen[chip.dataset.group], on = !set.has(chip.dataset.name);
      if (on) set.add(chip.dataset.name); else set.delete(chip.dataset.name);
      chip.setAttribute("aria-pressed", String(on));
      show();
    });
  }
  $("search").addEventListener("input", show);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target.tagName !== "INPUT" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); $("search").focus(); }
    if (event.key === "Escape" && event.target.id === "search") { event.target.value = ""; show(); }
  });
  $("tools").hidden = false;
}
