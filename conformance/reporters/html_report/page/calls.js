// The table of a behaviour's calls, created when it is opened.

const ROWS_PER_PAGE = 200;

function callTable(box, behaviour) {
  const decisive = new Map(behaviour.decisive.map((number, index) => [number, index + 1]));
  const rows = callRows(behaviour);
  const body = element("tbody");
  const heads = ["start", "outcome", "call", "duration"].map((name) => element("th", { scope: "col", class: name === "duration" || name === "start" ? "n" : "" }, name));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
  const more = element("button", { type: "button", class: "more" });
  let next = 0;
  const add = () => {
    for (const row of rows.slice(next, next + ROWS_PER_PAGE)) body.append(callRow(row, decisive.get(row.number)));
    next += ROWS_PER_PAGE;
    more.textContent = `Show ${Math.min(ROWS_PER_PAGE, rows.length - next)} more of ${rows.length - next}`;
    more.hidden = next >= rows.length;
  };
  more.addEventListener("click", add);
  add();
  box.replaceChildren(table, more);
}

/** Calls in the order in which they ended; identical consecutive reads are one row. */
function callRows(behaviour) {
  const rows = [];
  behaviour.calls.forEach((call, number) => {
    const last = rows.at(-1);
    const same = last && call.length <= SHARD && [RPC, OUTCOME, REQUEST, RESPONSE].every((field) => last.call[field] === call[field]);
    if (same && !behaviour.decisive.includes(number) && !behaviour.decisive.includes(last.number)) last.count += 1;
    else rows.push({ call, number, count: 1 });
  });
  return rows;
}

function callRow({ call, count }, decisive) {
  const row = element("tr", decisive ? { class: "decisive" } : {});
  const words = element("td", { class: "words" }, element("code", {}, `${text(call[RPC])}(${text(call[REQUEST])})`), element("br"), element("code", {}, `→ ${text(call[RESPONSE])}`));
  if (count > 1) words.append(` × ${count}`);
  if (decisive) words.prepend(element("b", {}, `${decisive}  `));
  row.append(element("td", { class: "n" }, clock(call[START])), element("td", {}, outcomeLabel(call[OUTCOME])), words, element("td", { class: "n" }, duration(call[DURATION])));
  return row;
}
