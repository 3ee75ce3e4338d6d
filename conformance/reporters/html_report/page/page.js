// The page: what is drawn when, finding a behaviour, links, keys and the theme.

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
    if (table.open && !table.dataset.drawn) calls(table.querySelector("[data-calls]"), behaviour);
    table.dataset.drawn = "yes";
  });
}

// Finding

const words = new WeakMap();
function searched(details) {
  if (!words.has(details)) words.set(details, details.textContent.toLowerCase());
  return words.get(details);
}

function filter() {
  const wanted = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const status = chips.find((chip) => chip.getAttribute("aria-pressed") === "true").dataset.show;
  const active = Boolean(wanted.length || status);
  let hits = 0;
  for (const details of behaviours) {
    const shown = (!status || details.dataset.status === status) && wanted.every((word) => searched(details).includes(word));
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

function everything() {
  field.value = "";
  show("");
}

// Links

function follow() {
  let name = location.hash.slice(1);
  try { name = decodeURIComponent(name); } catch { /* as it stands */ }
  const details = name && behaviours.find((each) => each.id.toLowerCase() === name.toLowerCase());
  if (!details) return;
  if (details.hidden) everything();
  for (let node = details; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  draw(details);
  details.querySelector("summary").focus({ preventScroll: true });
  details.scrollIntoView({ block: "start" });
}

// Keys

function step(by) {
  const seen = behaviours.filter((details) => details.checkVisibility());
  if (!seen.length) return;
  const here = seen.indexOf(document.activeElement.closest(".behaviour"));
  const next = seen[here < 0 ? (by > 0 ? 0 : seen.length - 1) : Math.max(0, Math.min(seen.length - 1, here + by))];
  const summary = next.querySelector("summary");
  summary.focus({ preventScroll: true });
  summary.scrollIntoView({ block: "nearest" });
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    everything();
    if (document.activeElement === field) field.blur();
    return;
  }
  if (event.target.matches("input, textarea")) return;
  const doing = { "/": () => field.focus(), j: () => step(1), k: () => step(-1), t: turn }[event.key];
  if (!doing) return;
  event.preventDefault();
  doing();
}

// Light and dark: what the system says, until somebody says otherwise.

function dark() {
  return (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

function turn() {
  wear(dark() ? "light" : "dark");
  try { localStorage.setItem("conformance-theme", document.documentElement.dataset.theme); } catch { /* not kept */ }
}

function wear(name) {
  if (name) document.documentElement.dataset.theme = name;
  theme.textContent = dark() ? "☀ Light" : "☾ Dark";
}

// Begin

for (const details of behaviours) {
  details.addEventListener("toggle", () => draw(details));
  draw(details);
}
for (const node of document.querySelectorAll(".tools, .theme, .calls, .keys")) node.hidden = false;
fleet(document.querySelector("[data-fleet]"));
field.addEventListener("input", filter);
for (const chip of chips) chip.addEventListener("click", () => show(chip.getAttribute("aria-pressed") === "true" ? "" : chip.dataset.show));
theme.addEventListener("click", turn);
document.addEventListener("keydown", key);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => wear());
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
let kept = null;
try { kept = localStorage.getItem("conformance-theme"); } catch { /* none is kept */ }
wear(kept === "dark" || kept === "light" ? kept : undefined);
follow();
document.documentElement.dataset.ready = "yes";
