/** Chart with axes. Lines are an SVG that stretches with the page; labels of the axes are HTML. */

import { el, svg } from "../elements/dom.js";

const SIZE = 1000;
const NICE = [1, 2, 2.5, 5, 10];
const MAX_DIGITS = 4;

/** Format a number for an axis or a readout. */
export function figure(value) {
  const isLarge = Math.abs(value) >= 1000;
  const text = isLarge ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(MAX_DIGITS)));
  return text.replace(/^-/, "−");
}

/** About `count` round numbers between two others, multiples of `unit`. */
export function ticksBetween(low, high, count = 4, unit = 0) {
  const step = unit ? Math.ceil((high - low) / count / unit) * unit : niceStep((high - low) / count);
  const first = Math.ceil(low / step);
  const num = Math.floor(high / step) - first + 1;
  return Array.from({ length: Math.max(num, 0) }, (_, index) => Number(((first + index) * step).toPrecision(12)));
}

function niceStep(atLeast) {
  const power = 10 ** Math.floor(Math.log10(atLeast));
  return NICE.find((factor) => factor * power >= atLeast * 0.999) * power;
}

/** Range of some numbers, with a margin. */
export function rangeAround(values, room) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low > high) return [-1, 1];
  const spread = high - low || Math.abs(high) || 1;
  return [low - spread * room, high + spread * room];
}

/** Lines, bands and a cursor over two axes, in values of the data. */
export class Plot {
  #x = [0, 1];
  #y = [0, 1];

  /** @param {{xTitle: string, layers: string[]}} parts `layers` are the classes of its paths, the last on top */
  constructor({ xTitle, layers }) {
    this.paths = layers.map((layer) => svg("path", { class: layer }));
    this.grid = svg("path", { class: "plot-grid" });
    this.cursor = svg("path", { class: "plot-cursor" });
    const box = { viewBox: `0 0 ${SIZE} ${SIZE}`, preserveAspectRatio: "none", "aria-hidden": "true" };
    this.surface = el("div", { class: "plot-surface" }, svg("svg", box, this.grid, ...this.paths, this.cursor));
    this.xLabels = el("div", { class: "plot-x", "aria-hidden": "true" });
    this.yLabels = el("div", { class: "plot-y", "aria-hidden": "true" });
    this.yTitle = el("p", { class: "plot-title", "aria-hidden": "true" });
    const xTitleLine = el("p", { class: "plot-title plot-x-title", "aria-hidden": "true" }, xTitle);
    this.element = el("div", { class: "plot" }, this.yTitle, this.yLabels, this.surface, this.xLabels, xTitleLine);
  }

  /** @param {{x: number[], y: number[], yTitle: string, xUnit?: number}} scales range of each axis */
  scale({ x, y, yTitle, xUnit = 0 }) {
    [this.#x, this.#y] = [x, y];
    this.yTitle.textContent = yTitle;
    const [xTicks, yTicks] = [ticksBetween(...x, 6, xUnit), ticksBetween(...y)];
    this.xLabels.replaceChildren(...xTicks.map((tick) => el("span", { "--at": shareOf(tick, x) }, figure(tick))));
    this.yLabels.replaceChildren(...yTicks.map((tick) => el("span", { "--at": shareOf(tick, y) }, figure(tick))));
    this.grid.setAttribute("d", yTicks.map((tick) => `M0 ${this.#top(tick)}H${SIZE}`).join(""));
  }

  /** @param {number} layer @param {number[][]} points x and y of each */
  line(layer, points) {
    this.paths[layer].setAttribute("d", this.#through(points));
  }

  /** @param {number} layer @param {number[][]} points x, the lower y and the upper y of each */
  band(layer, points) {
    const back = points.toReversed().map(([x, , high]) => [x, high]);
    this.paths[layer].setAttribute("d", `${this.#through([...points.map(([x, low]) => [x, low]), ...back])}Z`);
  }

  cursorAt(x) {
    this.cursor.setAttribute("d", `M${this.#left(x)} 0V${SIZE}`);
  }

  /** Position of a pointer in values of the axes. */
  placeOf({ clientX, clientY }) {
    const { left, top, width, height } = this.surface.getBoundingClientRect();
    return { x: valueAt((clientX - left) / width, this.#x), y: valueAt(1 - (clientY - top) / height, this.#y) };
  }

  #through(points) {
    return points.map(([x, y], index) => `${index ? "L" : "M"}${this.#left(x)} ${this.#top(y)}`).join("");
  }

  #left = (x) => (shareOf(x, this.#x) * SIZE).toFixed(1);
  #top = (y) => ((1 - shareOf(y, this.#y)) * SIZE).toFixed(1);
}

const shareOf = (value, [low, high]) => (value - low) / (high - low);
const valueAt = (share, [low, high]) => low + Math.min(Math.max(share, 0), 1) * (high - low);
