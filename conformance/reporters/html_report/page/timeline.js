// One behaviour as a timeline: a lane per machine, its states as bars, the calls as marks.

const MOST_MARKS = 1500;
const [RPC, LANE, FATE, CODE, AT, TOOK, ASKED, CAME, SEEN, SHARD, EPOCH, SEQUENCE] = Array(12).keys();
const GAP = { mutating: 28, read: 9 };
const LANE_TOP = 20, TOKENS = 13, MARKS = 22, BAR = 18, READS = 15, LANE_GAP = 9, FLAGS = 16, AXIS = 20;

/** Calls as marks, in time's order: reading the same again and again is one. */
function items(behaviour) {
  const order = behaviour.calls.map((call, number) => ({ call, number, count: 1, until: call[AT] + call[TOOK] }));
  order.sort((a, b) => a.call[AT] - b.call[AT]);
  const decisive = new Map(behaviour.decisive.map((number, place) => [number, place + 1]));
  const last = new Map(), marks = [];
  for (const item of order) {
    item.decisive = decisive.get(item.number) || 0;
    item.mutating = item.call.length > SHARD;
    const before = last.get(item.call[LANE]);
    const same = (place) => before.call[place] === item.call[place];
    if (before && !item.mutating && !item.decisive && !before.decisive && [RPC, FATE, ASKED, CAME].every(same)) {
      before.count += 1;
      before.until = Math.max(before.until, item.until);
      continue;
    }
    last.set(item.call[LANE], item);
    marks.push(item);
  }
  return marks;
}

/** From time to place: to scale where there is room, stretched where calls stand closer than marks can. */
function stretched(marks, behaviour, width) {
  const first = marks[0].call[AT];
  const end = Math.max(behaviour.ended, ...marks.map((item) => item.until));
  const steps = marks.map((item, place) => {
    const before = marks[place - 1] || item;
    return [place ? item.call[AT] - before.call[AT] : 0, place ? (item.mutating || before.mutating ? GAP.mutating : GAP.read) : 18];
  });
  steps.push([end - marks.at(-1).call[AT], GAP.mutating]);
  const length = (scale) => steps.reduce((sum, [time, least]) => sum + Math.max(least, time * scale), 14);
  // As many pixels a microsecond as fill the width; where the least is too much already, the picture is scrolled.
  let low = 0, high = width / Math.max(end - first, 1);
  for (let turn = 0; turn < 40; turn += 1) {
    const middle = (low + high) / 2;
    if (length(middle) > width) high = middle; else low = middle;
  }
  const anchors = [[first, 0]];
  steps.forEach(([time, least], place) => {
    const x = anchors.at(-1)[1] + Math.max(least, time * low);
    if (place < marks.length) marks[place].x = x;
    anchors.push([place < marks.length ? marks[place].call[AT] : end, x]);
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

/** What was seen of each machine, as spans of one state; what it was before the first look nobody knows. */
function states(behaviour, end) {
  const spans = behaviour.lanes.map(() => []);
  const looks = behaviour.calls.map((call) => [call[AT] + call[TOOK], call[SEEN]]).sort((a, b) => a[0] - b[0]);
  for (const [when, seen] of looks) {
    for (let place = 0; place < seen.length; place += 2) {
      const lane = spans[seen[place]];
      if (lane.length && lane.at(-1).state === seen[place + 1]) continue;
      if (lane.length) lane.at(-1).until = when;
      lane.push({ state: seen[place + 1], from: when, until: end });
    }
  }
  return spans;
}

/** The behaviour's shards by a letter each, where there are several. */
function letters(marks) {
  const shards = [...new Set(marks.filter((item) => item.mutating).map((item) => item.call[SHARD]))];
  const letter = (place) => (place > 25 ? letter(Math.floor(place / 26) - 1) : "") + String.fromCharCode(65 + (place % 26));
  return new Map(shards.map((shard, place) => [shard, shards.length > 1 ? letter(place) : ""]));
}

const short = (number) => (number.length > 5 ? `${number.slice(0, 2)}…` : number);

function timeline(box, behaviour) {
  const all = items(behaviour);
  const marks = all.filter((item, place) => place < MOST_MARKS || item.decisive);
  const names = letters(marks);
  const canvas = element("div", { class: "canvas" });
  const inspector = element("div", { class: "inspector", "aria-live": "polite" });
  box.replaceChildren(canvas, inspector, legend(names, all.length - marks.length));
  const tell = (place) => describe(inspector, marks[place]);
  const last = marks.findLastIndex((item) => item.decisive);
  tell(Math.max(last, 0));
  onWidth(canvas, (width) => {
    canvas.replaceChildren(picture(behaviour, marks, names, width, tell));
    if (last >= 0) canvas.scrollLeft = marks[last].x - width / 2;
  });
}

function picture(behaviour, marks, names, width, tell) {
  const scale = stretched(marks, behaviour, width - 2);
  const flags = behaviour.decisive.length ? FLAGS : 4;
  const lanes = behaviour.lanes.map((name) => ({ title: text(name), own: true, marks: [] }));
  const others = { title: "other ids, and List", own: false, marks: [] };
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
    if (prepared > 90) root.append(svg("text", { class: "quiet", x: prepared - 66, y: 14 }, "made ready"));
  }
  root.append(...axis(scale, y));
  const seen = states(behaviour, scale.end);
  lanes.forEach((lane, place) => {
    root.append(svg("path", { class: "rule", d: `M0 ${lane.y - LANE_TOP + 1}H${scale.width}` }));
    root.append(svg("text", { class: lane.own ? "label" : "quiet", x: 8, y: lane.y - 5 }, lane.title));
    if (lane.own) root.append(...seen[place].flatMap((span) => bar(span, scale, lane)));
  });
  const nodes = marks.map((item) => mark(item, lanes[item.call[LANE]] || others, scale, flags));
  root.append(...tokens(lanes, names), ...nodes);
  roving(nodes, tell);
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

/** The tokens over the mutating calls, as far as there is room; those of decisive calls before all others. */
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
  const { call, x } = item, fate = call[FATE];
  const y = item.mutating ? lane.y + TOKENS + 10 : lane.reads;
  const node = svg("g", { class: `mark ${FATES[fate]} ${item.mutating ? "call" : "read"}`, role: "img", "aria-label": label(item) });
  const until = scale.at(item.until);
  if (item.decisive) {
    node.append(svg("path", { class: "thread", d: `M${x} ${flags - 2}V${item.mutating ? lane.y + 1 : y - 9}M${x} ${y + 11}V${lane.bar + BAR}` }));
    node.append(svg("text", { class: "flag", x, y: flags - 4 }, item.decisive));
  }
  if (item.mutating) {
    node.append(svg("rect", { class: "halo", x: x - 12, y: y - 11, width: 24, height: 22, rx: 5 }));
    if (until > x + 8) node.append(svg("path", { class: "took", d: `M${x} ${y}H${until}` }));
    node.append(shape(fate, x, y, 7.5), sign(text(call[RPC]), x, y));
    if (item.decisive) node.append(svg("circle", { class: "ring", cx: x, cy: y, r: 11 }));
  } else {
    node.append(svg("rect", { class: "halo", x: x - 5, y: y - 8, width: Math.max(until - x, 0) + 10, height: 16, rx: 4 }));
    node.append(fate === "a" ? svg("rect", { class: "shape", x: x - 1.25, y: y - 5, width: Math.max(item.count > 1 ? until - x : 2.5, 2.5), height: item.count > 1 ? 5 : 10, rx: 1.25 }) : shape(fate, x, y, 4));
    if (item.decisive) node.append(svg("circle", { class: "ring", cx: x, cy: y, r: 8 }));
  }
  return node;
}

function label({ call, count }) {
  const again = count > 1 ? `, ${count} times` : "";
  return `${text(call[RPC])} ${FATES[call[FATE]]}, ${text(call[CODE])}${again}, at ${clock(call[AT])}: ${text(call[ASKED])}`;
}

/** The inspector: what the mark at hand asked, what came, with which code and when. */
function describe(inspector, item) {
  const { call, count, until } = item;
  const line = (...parts) => element("p", {}, ...parts);
  const head = line(element("span", { class: "rpc" }, text(call[RPC])), fateWord(call[FATE]), element("code", {}, text(call[CODE])));
  if (item.mutating) head.append(element("span", {}, `epoch ${call[EPOCH]} · sequence ${call[SEQUENCE]}`));
  const when = count > 1 ? `${count} times, from ${clock(call[AT])} to ${clock(until)}` : `at ${clock(call[AT])}, took ${duration(call[TOOK])}`;
  head.append(element("span", { class: "quiet" }, when));
  inspector.replaceChildren(head, line(element("code", {}, text(call[ASKED]))), line(element("code", { class: "answer" }, `→ ${text(call[CAME])}`)));
}

function legend(names, left) {
  const list = element("ul", { class: "legend" });
  const entry = (...parts) => list.append(element("li", {}, ...parts));
  for (const fate of "afru") entry(fateWord(fate));
  for (const rpc of Object.keys(SIGNS)) entry(svg("svg", { class: "fate", viewBox: "0 0 12 12", "aria-hidden": "true" }, sign(rpc, 6, 6)), rpc);
  entry("short ticks below a bar: reads");
  if (names.size) entry(names.size > 1 ? "over a call: its shard, epoch·sequence" : "over a call: epoch·sequence");
  if (names.size > 1 && names.size <= 8) for (const [shard, name] of names) entry(`${name} = `, element("code", {}, text(shard)));
  if (left > 0) entry(`${left} more marks are not drawn: the table has all calls`);
  return list;
}
