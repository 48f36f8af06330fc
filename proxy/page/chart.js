/** Our own charts, as SVG: drawn at the width that there is, with a pattern for each series and a table behind it. */

import { clear, h, muted, s } from "./dom.js";
import { scroll, table } from "./tables.js";

/** @import {Chart} from "./usage_types.js" */

const HEIGHT = 200;
const [LEFT, RIGHT, TOP, BOTTOM] = [58, 6, 10, 24];
const MARK_WIDTH = 46;
/** The lines of each pattern, over the colour's tint: it is told apart without its colour. */
const LINES = ["M0 0H8V8H0z", "M0 8L8 0M-2 2L2 -2M6 10L10 6", "M2 2h3v3h-3z", "M0 0L8 8M-2 6L2 10M6 -2L10 2", "M0 4H8", "M4 0V8"];
/** So many series are told apart. */
export const LOOKS = LINES.length;

let charts = 0;

/** Bars along the time, stacked. @param {Chart} chart */
export function bars(chart) {
  const id = `chart-${(charts += 1)}`;
  const box = h("div", { class: "plot" });
  const isEmpty = chart.series.every(({ values }) => !values.some(Boolean));
  if (isEmpty) box.append(h("p", { class: "notice" }, "None in this span."));
  else new ResizeObserver(() => clear(box, drawn(chart, id, Math.max(240, box.clientWidth)))).observe(box);
  const numbers = scroll("div", "table-wrap", `Numbers: ${chart.title}`);
  const behind = h("details", null, h("summary", null, "As a table"), numbers);
  behind.addEventListener("toggle", () => {
    const rows = chart.steps.map((name, at) => [name, ...chart.series.map(({ values }) => chart.format(values[at] ?? null))]);
    clear(numbers, table([`${chart.step} (UTC)`, ...chart.series.map(({ name }) => name)], rows.reverse()));
  }, { once: true });
  return h("figure", { class: "card chart" },
    h("figcaption", null, h("h2", null, chart.title), muted(chart.about)), box,
    !isEmpty && chart.series.length > 1 && h("ul", { class: "legend" }, chart.series.map(({ name }, look) => h("li", null, swatch(look, `${id}-${look}`), name))),
    !isEmpty && behind);
}

/** @param {Chart} chart @param {string} id @param {number} width */
function drawn({ title, about, steps, marks, series, format, least }, id, width) {
  const sums = steps.map((_, at) => series.reduce((all, { values }) => all + (values[at] ?? 0), 0));
  const ticks = scale(Math.max(...sums), least);
  const high = (HEIGHT - TOP - BOTTOM) / (ticks.at(-1) ?? 1);
  const y = (/** @type {number} */ value) => HEIGHT - BOTTOM - value * high;
  const step = (width - LEFT - RIGHT) / steps.length;
  let free = 0;
  const bar = Math.max(1, step * 0.8);
  const stack = (/** @type {string} */ name, /** @type {number} */ at) => {
    let sum = 0;
    const parts = series.map(({ values }, look) => {
      const value = values[at] ?? 0;
      sum += value;
      return value > 0 && s("rect", { class: `bar look-${look}`, fill: `url(#${id}-${look})`, x: LEFT + at * step + (step - bar) / 2, width: bar, y: y(sum), height: value * high });
    });
    const told = series.flatMap(({ name: of, values }) => values[at] ? `${of}: ${format(values[at])}` : []);
    return sum > 0 && s("g", null, s("title", null, [name, ...told].join("\n")), parts);
  };
  return s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-labelledby": `${id}-title ${id}-desc` },
    s("title", { id: `${id}-title` }, title),
    s("desc", { id: `${id}-desc` }, `${about} The numbers are in the table behind it.`),
    s("defs", null, series.map((_, look) => pattern(look, `${id}-${look}`))),
    ticks.map((value) => [
      s("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
    ]),
    steps.map(stack),
    marks.map((mark, at) => {
      const x = LEFT + (at + 0.5) * step;
      if (!mark || x < free || x > width - 16) return null;
      free = x + MARK_WIDTH;
      return s("text", { x, y: HEIGHT - 6, "text-anchor": "middle" }, mark);
    }));
}

/** @param {number} look @param {string} id */
function pattern(look, id) {
  return s("pattern", { id, class: `look-${look}`, width: 8, height: 8, patternUnits: "userSpaceOnUse" },
    s("rect", { class: "tint", width: 8, height: 8 }), s("path", { class: look === 0 || look === 2 ? "full" : "lines", d: LINES[look] }));
}

/** @param {number} look @param {string} id */
function swatch(look, id) {
  return s("svg", { viewBox: "0 0 16 16", class: "sign", "aria-hidden": "true" }, s("rect", { class: `bar look-${look}`, fill: `url(#${id})`, x: 1, y: 1, width: 14, height: 14 }));
}

/** Round values from 0 to the largest or a little above. @param {number} most @param {number} least The smallest step. */
function scale(most, least) {
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = Math.max(least, power * ([1, 2, 5].find((times) => times * power >= most / 4) ?? 10));
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, at) => at * step);
}
