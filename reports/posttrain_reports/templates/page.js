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
