// The table of a behaviour's calls: made when it is opened, so many rows at a time.

const ROWS = 200;

function calls(box, behaviour) {
  const decisive = new Map(behaviour.decisive.map((number, place) => [number, place + 1]));
  const rows = told(behaviour);
  const body = element("tbody");
  const heads = ["at", "", "call", "took"].map((name) => element("th", { scope: "col", class: name === "took" || name === "at" ? "n" : "" }, name));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
  const more = element("button", { type: "button", class: "more" });
  let next = 0;
  const add = () => {
    for (const row of rows.slice(next, next + ROWS)) body.append(tr(row, decisive.get(row.number)));
    next += ROWS;
    more.textContent = `Show ${Math.min(ROWS, rows.length - next)} more of ${rows.length - next}`;
    more.hidden = next >= rows.length;
  };
  more.addEventListener("click", add);
  add();
  box.replaceChildren(table, more);
}

/** Calls in the order in which they ended; reading the same again and again is one row. */
function told(behaviour) {
  const rows = [];
  behaviour.calls.forEach((call, number) => {
    const last = rows.at(-1);
    const same = last && call.length <= SHARD && [RPC, FATE, ASKED, CAME].every((place) => last.call[place] === call[place]);
    if (same && !behaviour.decisive.includes(number) && !behaviour.decisive.includes(last.number)) last.count += 1;
    else rows.push({ call, number, count: 1 });
  });
  return rows;
}

function tr({ call, count }, decisive) {
  const row = element("tr", decisive ? { class: "decisive" } : {});
  const words = element("td", { class: "words" }, element("code", {}, `${text(call[RPC])}(${text(call[ASKED])})`), element("br"), element("code", {}, `→ ${text(call[CAME])}`));
  if (count > 1) words.append(` × ${count}`);
  if (decisive) words.prepend(element("b", {}, `${decisive}  `));
  row.append(element("td", { class: "n" }, clock(call[AT])), element("td", {}, fateWord(call[FATE])), words, element("td", { class: "n" }, duration(call[TOOK])));
  return row;
}
