// Two charts over uPlot, each with the same numbers as a table for who sees no chart.

import { h, put } from "./dom.js";

export const LEVELS = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];
const HEIGHT = 200;
const POWERS = Array.from({ length: 12 }, (_, power) => 10 ** power);

let loaded = null;

/** A chart of decisions by level, stacked: `rows` have a number a level, `labels` a text a row. */
export class LevelChart {
  constructor({ title, first, compressed = false }) {
    this.first = first; // what a row is: the first column's heading
    this.compressed = compressed;
    this.place = h("div", { class: "chart" });
    this.table = h("table", {});
    this.title = title;
    this.note = h("p", { class: "quiet note" });
    this.element = h(
      "figure",
      { class: "card" },
      h("figcaption", {}, h("h3", {}, title), this.note),
      this.place,
      h("details", {}, h("summary", {}, "The numbers"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: the numbers` }, this.table)),
    );
    this.plot = null;
    this.shown = null;
    new ResizeObserver(() => this.plot?.setSize({ width: this.place.clientWidth, height: HEIGHT })).observe(this.place);
    // The chart has its colours in its pixels.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.shown && this.show(...this.shown));
  }

  async show(rows, labels) {
    this.shown = [rows, labels];
    const total = rows.reduce((sum, row) => sum + LEVELS.reduce((all, level) => all + row[level], 0), 0);
    this.note.textContent = total === 0 ? "No decisions in this time." : `${total.toLocaleString()} decisions${this.compressed ? ", height compressed" : ""}`;
    this.#tabulate(rows, labels);
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", `${this.title}: ${this.note.textContent} The table below has the numbers.`);
    loaded ??= import("./uPlot.esm.js");
    const { default: Plot } = await loaded;
    if (this.shown[0] !== rows) return;
    this.plot?.destroy();
    this.plot = new Plot(this.#options(Plot, labels), this.#stacked(rows), this.place);
  }

  /** Each level on top of those below it; the whole column is drawn first. */
  #stacked(rows) {
    const columns = LEVELS.map((_, upTo) => rows.map((row) => LEVELS.slice(0, upTo + 1).reduce((sum, level) => sum + row[level], 0)));
    return [rows.map((_, place) => place), ...columns.reverse()];
  }

  #options(Plot, labels) {
    const style = getComputedStyle(this.place);
    const font = `12px ${style.fontFamily}`;
    const axis = { stroke: of("--quiet"), font, grid: { stroke: of("--line"), width: 1 }, ticks: { show: false } };
    const shown = [...LEVELS].reverse();
    return {
      width: this.place.clientWidth,
      height: HEIGHT,
      cursor: { show: false },
      legend: { show: false },
      padding: [8, 8, 0, 0],
      scales: {
        x: { time: false, range: [-0.5, labels.length - 0.5] },
        y: { distr: this.compressed ? 4 : 1, asinh: 1, range: (_plot, _low, high) => [0, Math.max(high ?? 0, 1) * 1.05] },
      },
      series: [
        {},
        ...shown.map((level) => ({
          label: level,
          fill: of(`--${level.toLowerCase()}`),
          width: 0,
          points: { show: false },
          paths: Plot.paths.bars({ size: [0.82, 60] }),
        })),
      ],
      axes: [
        { ...axis, grid: { show: false }, size: 28, splits: () => spread(labels.length, this.place.clientWidth), values: (_plot, places) => places.map((place) => labels[place] ?? "") },
        { ...axis, size: 48, space: 36, ...(this.compressed && { splits: (_plot, _axis, _low, high) => [0, ...POWERS.filter((value) => value <= high)] }), values: (_plot, values) => values.map((value) => (value !== null && Number.isInteger(value) ? short(value) : "")) },
      ],
    };
  }

  #tabulate(rows, labels) {
    const some = rows.map((row, place) => ({ row, label: labels[place] })).filter(({ row }) => LEVELS.some((level) => row[level] > 0));
    put(
      this.table,
      h("thead", {}, h("tr", {}, [this.first, ...LEVELS].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, some.length === 0
        ? h("tr", {}, h("td", { colspan: "5" }, "None in this time."))
        : some.map(({ row, label }) => h("tr", {}, h("th", { scope: "row" }, label), LEVELS.map((level) => h("td", {}, row[level].toLocaleString()))))),
    );
  }
}

/** A colour of the stylesheet as a canvas takes it: resolved for the theme that is on. */
function of(name) {
  const probe = h("i", { hidden: true });
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** Places for as many labels as fit, at even distances. */
function spread(count, width) {
  const step = Math.max(1, Math.ceil((count * 72) / Math.max(width, 64)));
  return Array.from({ length: Math.ceil(count / step) }, (_, place) => place * step);
}

function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1e4 ? `${value / 1e3}k` : String(value);
}
