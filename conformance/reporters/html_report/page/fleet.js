// The whole run: a row per machine, behaviours as spans, the number of concurrent behaviours, the critical path.

const ROW_HEIGHT = 17, THIN_HEIGHT = 7, CONCURRENCY_HEIGHT = 44, MAX_FREE_ROWS = 24;
const [ID, STATUS, TITLE, LEASED, STARTED, ENDED, MACHINES] = Array(7).keys();
const GLYPHS = { failed: "✕", warned: "!", error: "?", skipped: "–", passed: "✓" };

function fleet(box) {
  if (!DATA.spans.length) {
    box.replaceChildren(element("p", { class: "note" }, "No behaviour started."));
    return;
  }
  const canvas = element("div", { class: "canvas" });
  const inspector = element("div", { class: "inspector", "aria-live": "polite" });
  box.replaceChildren(canvas, inspector);
  inspector.append(element("p", { class: "quiet" }, "Point at a span, or use Tab and the arrow keys; Enter opens its behaviour. The pale part is the preparation of machines."));
  onWidth(canvas, (width) => canvas.replaceChildren(run(width - 2, inspector)));
}

function run(width, inspector) {
  const gutter = width < 560 ? 84 : 128;
  const end = Math.max(DATA.wall, ...DATA.spans.map((span) => span[ENDED]));
  const at = (micros) => gutter + ((width - gutter - 12) * micros) / end;
  const free = packed(DATA.spans.filter((span) => !span[MACHINES].length), end / Math.max(width - gutter, 1));
  const top = CONCURRENCY_HEIGHT + 12, middle = top + DATA.machines.length * ROW_HEIGHT + 4;
  const bottom = middle + free.rows * THIN_HEIGHT + 6, height = bottom + 22;
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "The run: the arrow keys move from behaviour to behaviour" });
  for (const tick of ticks(0, end, (width - gutter) / 90)) {
    root.append(svg("path", { class: "rule", d: `M${at(tick)} ${top - 4}V${bottom}` }), svg("text", { class: "quiet", x: at(tick) + 3, y: bottom + 14 }, `${Number((tick / 1e6).toFixed(4))} s`));
  }
  root.append(...concurrency(at, gutter));
  const longest = gutter < 100 ? 11 : 18;
  DATA.machines.forEach((machine, row) => {
    const name = text(machine), shown = name.length > longest ? `${name.slice(0, 4)}…${name.slice(5 - longest)}` : name;
    root.append(svg("text", { class: "quiet", x: 8, y: top + row * ROW_HEIGHT + 12 }, svg("title", {}, name), shown));
  });
  if (free.rows) root.append(svg("text", { class: "quiet", x: 8, y: middle + 9 }, "no machine"));
  const critical = new Set(DATA.critical_path);
  const rows = (span) => (span[MACHINES].length ? span[MACHINES].map((n) => top + n * ROW_HEIGHT) : [middle + free.row.get(span[ID]) * THIN_HEIGHT]);
  const nodes = DATA.spans.map((span) => spanNode(span, rows(span), at, critical.has(span[ID])));
  root.append(...nodes, ...threads(rows, at));
  roving(nodes, (index) => describeSpan(inspector, DATA.spans[index]));
  return root;
}

/** Rows for behaviours without machines: each uses the first free row, so that spans do not overlap. */
function packed(spans, pixel) {
  const until = [], row = new Map();
  for (const span of spans) {
    let index = until.findIndex((end) => end <= span[LEASED]);
    if (index < 0) index = until.length < MAX_FREE_ROWS ? until.length : until.length - 1;
    until[index] = Math.max(span[ENDED], span[LEASED] + 3 * pixel);
    row.set(span[ID], index);
  }
  return { row, rows: until.length };
}

/** The number of behaviours that had their machines, over time. */
function concurrency(at, gutter) {
  const steps = DATA.spans.flatMap((span) => [[span[LEASED], 1], [span[ENDED], -1]]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let now = 0, most = 0;
  for (const [, step] of steps) most = Math.max(most, (now += step));
  const y = (count) => 8 + CONCURRENCY_HEIGHT - 8 - ((CONCURRENCY_HEIGHT - 12) * count) / most;
  let path = `M${at(0)} ${y(0)}`;
  now = 0;
  for (const [when, step] of steps) path += `H${at(when)}V${y((now += step))}`;
  return [
    svg("path", { class: "concurrency", d: path }),
    svg("text", { class: "quiet", x: 8, y: 20 }, gutter < 100 ? `max ${most}` : `max ${most} concurrent`),
  ];
}

function spanNode(span, places, at, critical) {
  const [from, start, end] = [at(span[LEASED]), at(span[STARTED]), at(span[ENDED])];
  const width = Math.max(end - start, 2.5), high = span[MACHINES].length ? ROW_HEIGHT : THIN_HEIGHT;
  const node = svg("g", { class: `span ${span[STATUS]}${critical ? " critical" : ""}`, role: "link", "aria-label": `${span[ID]} ${span[STATUS]}, ${duration(span[ENDED] - span[STARTED])}` });
  const word = span[STATUS] === "passed" ? span[ID] : `${GLYPHS[span[STATUS]]} ${span[ID]}`;
  for (const y of places) {
    if (start > from) node.append(svg("rect", { class: "before", x: from, y: y + 2, width: start - from, height: high - 4 }));
    node.append(svg("rect", { class: "body", x: start, y: y + 1, width, height: high - 2, rx: 2 }));
    if (high === ROW_HEIGHT && width > word.length * 5.8 + 4) node.append(svg("text", { x: start + 3, y: y + 12 }, word));
  }
  const go = () => { location.hash = `#${encodeURIComponent(span[ID])}`; };
  node.addEventListener("click", go);
  node.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
  return node;
}

/** Lines along the critical path, from the end of each behaviour to the start of the next. */
function threads(rows, at) {
  const spans = new Map(DATA.spans.map((span) => [span[ID], span]));
  const drawn = [];
  DATA.critical_path.forEach((id, index) => {
    const span = spans.get(id), next = spans.get(DATA.critical_path[index + 1]);
    if (!span || !next) return;
    const shared = rows(span).find((y) => rows(next).includes(y));
    const middle = (one) => (shared ?? rows(one)[0]) + (one[MACHINES].length ? ROW_HEIGHT : THIN_HEIGHT) / 2;
    drawn.push(svg("path", { class: "thread", d: `M${at(span[ENDED])} ${middle(span)}H${at(next[LEASED])}V${middle(next)}H${at(next[STARTED])}` }));
  });
  return drawn;
}

function describeSpan(inspector, span) {
  const machines = span[MACHINES].map((n) => text(DATA.machines[n])).join(", ");
  const preparation = span[STARTED] - span[LEASED];
  const time = `start ${clock(span[STARTED])}, duration ${duration(span[ENDED] - span[STARTED])}${preparation > 0 ? `, preparation before that ${duration(preparation)}` : ""}`;
  inspector.replaceChildren(
    element("p", {}, element("span", { class: `badge ${span[STATUS]}`, "aria-hidden": "true" }, GLYPHS[span[STATUS]]), element("span", { class: "rpc" }, span[ID]), element("span", {}, text(span[TITLE]))),
    element("p", { class: "quiet" }, time),
    element("p", { class: "quiet" }, machines ? `machines: ${machines}` : "no machine"),
  );
}
