"use strict";
// Shared by all drawings: creates elements without parsing markup, so that a provider's text stays text.

const DATA = JSON.parse(document.getElementById("data").textContent);
const text = (index) => DATA.strings[index];
const OUTCOMES = { a: "accepted", f: "fenced", r: "refused", u: "unanswered" };

function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** Formats microseconds. */
function duration(micros) {
  if (micros < 1000) return `${micros} µs`;
  if (micros < 999_500) return `${Number((micros / 1000).toPrecision(3))} ms`;
  return `${(micros / 1e6).toFixed(2)} s`;
}

const clock = (micros) => `${(micros / 1e6).toFixed(3)} s`;

/** The mark of a call by its outcome: disc, square, diamond, or hollow disc. */
function shape(outcome, x, y, r) {
  switch (outcome) {
    case "f":
      return svg("rect", { class: "shape", x: x - r + 0.5, y: y - r + 0.5, width: 2 * r - 1, height: 2 * r - 1, rx: 1.5 });
    case "r":
      return svg("path", { class: "shape", d: `M${x} ${y - r - 1}l${r + 1} ${r + 1}l${-r - 1} ${r + 1}l${-r - 1} ${-r - 1}z` });
    default:
      return svg("circle", { class: "shape", cx: x, cy: y, r: outcome === "u" ? r - 0.5 : r });
  }
}

/** The sign of a mutating RPC: plus, up, down, minus. */
const SIGNS = { Create: "M-3.2 0H3.2M0 -3.2V3.2", Configure: "M-3 1.6L0 -1.8L3 1.6", Drain: "M-3 -1.6L0 1.8L3 -1.6", Delete: "M-3.2 0H3.2" };

function sign(rpc, x, y) {
  return svg("path", { class: "sign", d: SIGNS[rpc] || "", transform: `translate(${x} ${y})` });
}

/** A small mark with its word, for tables and legends. */
function outcomeLabel(outcome) {
  const icon = svg("svg", { class: `outcome ${OUTCOMES[outcome]}`, viewBox: "0 0 12 12", "aria-hidden": "true" }, shape(outcome, 6, 6, 5));
  return element("span", { class: `word ${OUTCOMES[outcome]}` }, icon, OUTCOMES[outcome]);
}

/** About `most` ticks between two times, in steps of 1, 2 or 5. */
function ticks(from, to, most) {
  const rough = Math.max((to - from) / Math.max(most, 1), 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}

/** One tab stop for many marks: arrows, Home and End move between them. Calls `onSelect` on focus or hover. */
function roving(marks, onSelect) {
  const move = (to) => {
    const next = marks[Math.max(0, Math.min(marks.length - 1, to))];
    for (const mark of marks) mark.setAttribute("tabindex", mark === next ? "0" : "-1");
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  marks.forEach((mark, index) => {
    mark.setAttribute("tabindex", index === 0 ? "0" : "-1");
    mark.addEventListener("pointerenter", () => onSelect(index));
    mark.addEventListener("focus", () => onSelect(index));
    mark.addEventListener("keydown", (event) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: marks.length - 1 }[event.key];
      if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      move(to);
    });
  });
}

/** Draws now, and again when the width changes. */
function onWidth(box, draw) {
  let width = 0;
  const fit = () => {
    if (box.clientWidth && box.clientWidth !== width) draw((width = box.clientWidth));
  };
  fit();
  new ResizeObserver(fit).observe(box);
}
