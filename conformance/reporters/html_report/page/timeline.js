// The timeline of one behaviour: a lane per machine, states as bars, calls as marks.

const MAX_MARKS = 1500;
const [RPC, LANE, OUTCOME, CODE, START, DURATION, REQUEST, RESPONSE, SEEN, SHARD, EPOCH, SEQUENCE] = Array(12).keys();
const GAP = { mutating: 28, read: 9 };
const LANE_TOP = 20, TOKENS = 13, MARKS = 22, BAR = 18, READS = 15, LANE_GAP = 9, FLAGS = 16, AXIS = 20;

/** Calls as marks, by start time; identical consecutive reads are one mark. */
function items(behaviour) {
  const order = behaviour.calls.map((call, number) => ({ call, number, count: 1, until: call[START] + call[DURATION] }));
  order.sort((a, b) => a.call[START] - b.call[START]);
  const decisive = new Map(behaviour.decisive.map((number, index) => [number, index + 1]));
  const last = new Map(), marks = [];
  for (const item of order) {
    item.decisive = decisive.get(item.number) || 0;
    item.mutating = item.call.length > SHARD;
    const before = last.get(item.call[LANE]);
    const same = (field) => before.call[field] === item.call[field];
    if (before && !item.mutating && !item.decisive && !before.decisive && [RPC, OUTCOME, REQUEST, RESPONSE].every(same)) {
      before.count += 1;
      before.until = Math.max(before.until, item.until);
      continue;
    }
    last.set(item.call[LANE], item);
    marks.push(item);
  }
  return marks;
}

/** Maps time to x: linear, except that the distance of two marks has a minimum. */
function stretched(marks, behaviour, width) {
  const first = marks[0].call[START];
  const end = Math.max(behaviour.ended, ...marks.map((item) => item.until));
  const steps = marks.map((item, index) => {
    const before = marks[index - 1] || item;
    return [index ? item.call[START] - before.call[START] : 0, index ? (item.mutating || before.mutating ? GAP.mutating : GAP.read) : 18];
  });
  steps.push([end - marks.at(-1).call[START], GAP.mutating]);
  const length = (scale) => steps.reduce((sum, [time, least]) => sum + Math.max(least, time * scale), 14);
  // Finds the pixels per microsecond that fill the width. If even the minimum distances are too wide, the canvas scrolls.
  let low = 0, high = width / Math.max(end - first, 1);
  for (let round = 0; round < 40; round += 1) {
    const middle = (low + high) / 2;
    if (length(middle) > width) high = middle; else low = middle;
  }
  const anchors = [[first, 0]];
  steps.forEach(([time, least], index) => {
    const x = anchors.at(-1)[1] + Math.max(least, time * low);
    if (index < marks.length) marks[index].x = x;
    anchors.push([index < marks.length ? marks[index].call[START] : end, x]);
  });
  return {
    end,
    first,
    width: Math.max(anchors.at(-1)[1] + 14, width),
    at(when) {
      let low = 0, high = anchors.length - 1;
      while (low < high - 1) {
        const middle = (low + high) >> 1;
        if (anchors[middle][0] <= when) low = middle; else high = middle;
      }
      const [t0, x0] = anchors[low], [t1, x1] = anchors[high];
      return t1 > t0 ? x0 + (x1 - x0) * Math.min(1, Math.max(0, (when - t0) / (t1 - t0))) : x1;
    },
  };
}

/** The observed states of each machine as spans. The state before the first read is unknown. */
function states(behaviour, end) {
  const spans = behaviour.lanes.map(() => []);
  const reads = behaviour.calls.map((call) => [call[START] + call[DURATION], call[SEEN]]).sort((a, b) => a[0] - b[0]);
  for (const [when, seen] of reads) {
    for (let index = 0; index < seen.length; index += 2) {
      const lane = spans[seen[index]];
      if (lane.length && lane.at(-1).state === seen[index + 1]) continue;
      if (lane.length) lane.at(-1).until = when;
      lane.push({ state: seen[index + 1], from: when, until: end });
    }
  }
  return spans;
}

/** A letter for each shard of the behaviour, if there are several. */
function shardLetters(marks) {
  const shards = [...new Set(marks.filter((item) => item.mutating).map((item) => item.call[SHARD]))];
  const letter = (index) => (index > 25 ? letter(Math.floor(index / 26) - 1) : "") + String.fromCharCode(65 + (index % 26));
  return new Map(shards.map((shard, index) => [shard, shards.length > 1 ? letter(index) : ""]));
}

const short = (number) => (number.length > 5 ? `${number.slice(0, 2)}…` : number);

function timeline(box, behaviour) {
  const all = items(behaviour);
  const marks = all.filter((item, index) => index < MAX_MARKS || item.decisive);
  const names = shardLetters(marks);
  const canvas = element("div", { class: "canvas" });
  const inspector = element("div", { class: "inspector", "aria-live": "polite" });
  box.replaceChildren(canvas, inspector, legend(names, all.length - marks.length));
  const onSelect = (index) => describe(inspector, marks[index]);
  const last = marks.findLastIndex((item) => item.decisive);
  onSelect(Math.max(last, 0));
  onWidth(canvas, (width) => {
    canvas.replaceChildren(picture(behaviour, marks, names, width, onSelect));
    if (last >= 0) canvas.scrollLeft = marks[last].x - width / 2;
  });
}

function picture(behaviour, marks, names, width, onSelect) {
  const scale = stretched(marks, behaviour, width - 2);
  const flags = behaviour.decisive.length ? FLAGS : 4;
  const lanes = behaviour.lanes.map((name) => ({ title: text(name), own: true, marks: [] }));
  const others = { title: "other machines, and List", own: false, marks: [] };
  for (const item of marks) (lanes[item.call[LANE]] || others).marks.push(item);
  if (others.marks.length) lanes.push(others);
  let y = flags;
  for (const lane of lanes) {
    lane.y = y + LANE_TOP;
    lane.calls = lane.marks.some((item) => item.mutating);
    lane.bar = lane.y + (lane.calls ? TOKENS + MARKS : 0);
    lane.reads = lane.bar + (lane.own ? BAR : 0) + 8;
    y = lane.reads + (lane.marks.some((item) => !item.mutating) ? READS : 0) - 8 + LANE_GAP;
  }
  const height = y + AXIS;
  const root = svg("svg", { width: scale.width, height, viewBox: `0 0 ${scale.width} ${height}`, role: "group", "aria-label": "Timeline of calls: the arrow keys move from call to call" });
  const prepared = scale.at(behaviour.started);
  if (behaviour.started > scale.first && prepared > 24) {
    root.append(svg("rect", { class: "prepare", x: 0, y: 0, width: prepared, height: y }));
    root.append(svg("path", { class: "rule", d: `M${prepared} 0V${y}` }));
    if (prepared > 90) root.append(svg("text", { class: "quiet", x: prepared - 68, y: 14 }, "preparation"));
  }
  root.append(...axis(scale, y));
  const seen = states(behaviour, scale.end);
  lanes.forEach((lane, index) => {
    root.append(svg("path", { class: "rule", d: `M0 ${lane.y - LANE_TOP + 1}H${scale.width}` }));
    root.append(svg("text", { class: lane.own ? "label" : "quiet", x: 8, y: lane.y - 5 }, lane.title));
    if (lane.own) root.append(...seen[index].flatMap((span) => bar(span, scale, lane)));
  });
  const nodes = marks.map((item) => mark(item, lanes[item.call[LANE]] || others, scale, flags));
  root.append(...tokens(lanes, names), ...nodes);
  roving(nodes, onSelect);
  return root;
}

function axis(scale, y) {
  const found = [];
  let free = 0;
  for (const at of ticks(scale.first, scale.end, 12)) {
    const x = scale.at(at);
    if (x < free || x > scale.width - 40) continue;
    free = x + 58;
    found.push(svg("path", { class: "rule", d: `M${x} ${y}v5` }), svg("text", { class: "quiet", x: x + 3, y: y + 14 }, `${Number((at / 1e6).toFixed(4))} s`));
  }
  return [svg("path", { class: "rule", d: `M0 ${y}H${scale.width}` }), ...found];
}

function bar(span, scale, lane) {
  const name = DATA.states[span.state];
  const x = scale.at(span.from), width = Math.max(scale.at(span.until) - x, 2);
  const title = svg("title", {}, `${name}, first seen at ${clock(span.from)}`);
  const drawn = [svg("rect", { class: `state ${name}`, x, y: lane.bar, width, height: BAR, rx: 2 }, title)];
  if (width > name.length * 6.6 + 10) drawn.push(svg("text", { class: "in", x: x + 5, y: lane.bar + 12.5 }, name));
  return drawn;
}

/** Tokens above the mutating calls. If there is not enough room, those of decisive calls are drawn first. */
function tokens(lanes, names) {
  const drawn = [];
  for (const lane of lanes) {
    const taken = [];
    const calls = lane.marks.filter((item) => item.mutating).sort((a, b) => (b.decisive ? 1 : 0) - (a.decisive ? 1 : 0));
    for (const item of calls) {
      const label = `${names.get(item.call[SHARD])}${short(item.call[EPOCH])}·${short(item.call[SEQUENCE])}`;
      const half = label.length * 3.1 + 1.5;
      if (taken.some(([from, to]) => item.x - half < to && item.x + half > from)) continue;
      taken.push([item.x - half, item.x + half]);
      drawn.push(svg("text", { class: "token", x: item.x, y: lane.y + TOKENS - 3 }, label));
    }
  }
  return drawn;
}

function mark(item, lane, scale, flags) {
  const { call, x } = item, outcome = call[OUTCOME];
  const y = item.mutating ? lane.y + TOKENS + 10 : lane.reads;
  const node = svg("g", { class: `mark ${OUTCOMES[outcome]} ${item.mutating ? "call" : "read"}`, role: "img", "aria-label": label(item) });
  const until = scale.at(item.until);
  if (item.decisive) {
    node.append(svg("path", { class: "thread", d: `M${x} ${flags - 2}V${item.mutating ? lane.y + 1 : y - 9}M${x} ${y + 11}V${lane.bar + BAR}` }));
    node.append(svg("text", { class: "flag", x, y: flags - 4 }, item.decisive));
  }
  if (item.mutating) {
    node.append(svg("rect", { class: "halo", x: x - 12, y: y - 11, width: 24, height: 22, rx: 5 }));
    if (until > x + 8) node.append(svg("path", { class: "took", d: `M${x} ${y}H${until}` }));
    node.append(shape(outcome, x, y, 7.5), sign(text(call[RPC]), x, y));
    if (item.decisive) node.append(svg("circle", { class: "ring", cx: x, cy: y, r: 11 }));
  } else {
    node.append(svg("rect", { class: "halo", x: x - 5, y: y - 8, width: Math.max(until - x, 0) + 10, height: 16, rx: 4 }));
    node.append(outcome === "a" ? svg("rect", { class: "shape", x: x - 1.25, y: y - 5, width: Math.max(item.count > 1 ? until - x : 2.5, 2.5), height: item.count > 1 ? 5 : 10, rx: 1.25 }) : shape(outcome, x, y, 4));
    if (item.decisive) node.append(svg("circle", { class: "ring", cx: x, cy: y, r: 8 }));
  }
  return node;
}

function label({ call, count }) {
  const again = count > 1 ? `, ${count} times` : "";
  return `${text(call[RPC])} ${OUTCOMES[call[OUTCOME]]}, ${text(call[CODE])}${again}, at ${clock(call[START])}: ${text(call[REQUEST])}`;
}

/** Shows request, response, code and time of a mark in the inspector. */
function describe(inspector, item) {
  const { call, count, until } = item;
  const line = (...parts) => element("p", {}, ...parts);
  const head = line(element("span", { class: "rpc" }, text(call[RPC])), outcomeLabel(call[OUTCOME]), element("code", {}, text(call[CODE])));
  if (item.mutating) head.append(element("span", {}, `epoch ${call[EPOCH]} · sequence ${call[SEQUENCE]}`));
  const when = count > 1 ? `${count} times, from ${clock(call[START])} to ${clock(until)}` : `at ${clock(call[START])}, duration ${duration(call[DURATION])}`;
  head.append(element("span", { class: "quiet" }, when));
  inspector.replaceChildren(head, line(element("code", {}, text(call[REQUEST]))), line(element("code", { class: "answer" }, `→ ${text(call[RESPONSE])}`)));
}

function legend(names, left) {
  const list = element("ul", { class: "legend" });
  const entry = (...parts) => list.append(element("li", {}, ...parts));
  for (const outcome of "afru") entry(outcomeLabel(outcome));
  for (const rpc of Object.keys(SIGNS)) entry(svg("svg", { class: "outcome", viewBox: "0 0 12 12", "aria-hidden": "true" }, sign(rpc, 6, 6)), rpc);
  entry("short ticks below a bar: reads");
  if (names.size) entry(names.size > 1 ? "above a call: shard, epoch·sequence" : "above a call: epoch·sequence");
  if (names.size > 1 && names.size <= 8) for (const [shard, name] of names) entry(`${name} = `, element("code", {}, text(shard)));
  if (left > 0) entry(`${left} more marks are not drawn; the table has all calls`);
  return list;
}
