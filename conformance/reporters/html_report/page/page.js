// The page: drawing on demand, search and filters, links, keys and the theme.

const behaviours = [...document.querySelectorAll(".behaviour")];
const tools = document.querySelector(".tools");
const field = tools.querySelector("input");
const chips = [...tools.querySelectorAll("button")];
const theme = document.querySelector(".theme");

function draw(details) {
  if (!details.open || details.dataset.drawn) return;
  details.dataset.drawn = "yes";
  const behaviour = DATA.behaviours[details.id];
  if (!behaviour) return;
  timeline(details.querySelector("[data-timeline]"), behaviour);
  const table = details.querySelector(".calls");
  table.addEventListener("toggle", () => {
    if (table.open && !table.dataset.drawn) callTable(table.querySelector("[data-calls]"), behaviour);
    table.dataset.drawn = "yes";
  });
}

// Search and filters

const words = new WeakMap();
function searchText(details) {
  if (!words.has(details)) words.set(details, details.textContent.toLowerCase());
  return words.get(details);
}

function filter() {
  const wanted = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const status = chips.find((chip) => chip.getAttribute("aria-pressed") === "true").dataset.show;
  const active = Boolean(wanted.length || status);
  let hits = 0;
  for (const details of behaviours) {
    const shown = (!status || details.dataset.status === status) && wanted.every((word) => searchText(details).includes(word));
    details.hidden = !shown;
    hits += shown;
  }
  for (const group of document.querySelectorAll(".consequences, .cause, [data-part], [data-group]")) {
    const some = [...group.querySelectorAll(".behaviour")].some((details) => !details.hidden);
    group.hidden = !some;
    if (group.matches(".consequences") && active && some) group.open = true;
  }
  document.body.classList.toggle("filtering", active);
  const beginning = tools.offsetTop;
  if (active && scrollY > beginning) scrollTo(0, tools.previousElementSibling.offsetHeight);
  tools.querySelector(".hits").textContent = active ? `${hits} of ${behaviours.length} behaviours` : "";
}

function show(status) {
  for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.show === status));
  filter();
}

function showAll() {
  field.value = "";
  show("");
}

// Links

function follow() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* not encoded: used as it is */ }
  const details = name && behaviours.find((each) => each.id.toLowerCase() === name.toLowerCase());
  if (!details) return;
  if (details.hidden) showAll();
  for (let node = details; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  draw(details);
  details.querySelector("summary").focus({ preventScroll: true });
  details.scrollIntoView({ block: "start" });
}

// Keys

function step(by) {
  const visible = behaviours.filter((details) => details.checkVisibility());
  if (!visible.length) return;
  const current = visible.indexOf(document.activeElement.closest(".behaviour"));
  const next = visible[current < 0 ? (by > 0 ? 0 : visible.length - 1) : Math.max(0, Math.min(visible.length - 1, current + by))];
  const summary = next.querySelector("summary");
  summary.focus({ preventScroll: true });
  summary.scrollIntoView({ block: "nearest" });
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    showAll();
    if (document.activeElement === field) field.blur();
    return;
  }
  if (event.target.matches("input, textarea")) return;
  const action = { "/": () => field.focus(), j: () => step(1), k: () => step(-1), t: toggleTheme }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// Theme: the system's, until the user chooses another one.

function isDark() {
  return (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function toggleTheme() {
  setTheme(isDark() ? "light" : "dark");
  try { localStorage.setItem("conformance-theme", document.documentElement.dataset.theme); } catch { /* storage is disabled */ }
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
  theme.textContent = isDark() ? "☀ Light" : "☾ Dark";
}

// Start

for (const details of behaviours) {
  details.addEventListener("toggle", () => draw(details));
  draw(details);
}
for (const node of document.querySelectorAll(".tools, .theme, .calls, .keys")) node.hidden = false;
fleet(document.querySelector("[data-fleet]"));
field.addEventListener("input", filter);
for (const chip of chips) chip.addEventListener("click", () => show(chip.getAttribute("aria-pressed") === "true" ? "" : chip.dataset.show));
theme.addEventListener("click", toggleTheme);
document.addEventListener("keydown", key);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme());
addEventListener("hashchange", follow);
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll(".causes .behaviour, .consequences, .group.error .behaviour")].filter((details) => !details.open);
  for (const details of opened) details.open = true;
  for (const details of opened) draw(details);
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
let stored = null;
try { stored = localStorage.getItem("conformance-theme"); } catch { /* storage is disabled */ }
setTheme(stored === "dark" || stored === "light" ? stored : undefined);
follow();
document.documentElement.dataset.ready = "yes";
