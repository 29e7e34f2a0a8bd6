/** Line chart. null is a gap: no data, which differs from zero. */

import { svg } from "../elements/dom.js";

const WIDTH = 240;
const HEIGHT = 48;
const TOP = 3;
/** Margin for half a dot. */
const EDGE = 2;

/**
 * @param {number[]} lines number of values per point; their paths are named `line-0`, `line-1` …
 * @param {number} capacity number of points in the width
 * @returns {{element: SVGElement, draw: (points: (number|null)[][], label: string) => number}}
 *   `draw` returns the value at the top
 */
export function lineChart(lines, capacity) {
  const paths = Array.from({ length: lines }, (_, index) => svg("path", { class: `line line-${index}` }));
  const base = svg("path", { class: "base", d: `M0 ${HEIGHT - 0.5}H${WIDTH}` });
  const box = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "chart" };
  const element = svg("svg", box, base, ...paths);
  const draw = (points, label) => {
    const top = Math.max(...points.flat().filter((value) => value !== null), Number.MIN_VALUE);
    paths.forEach((path, index) =>
      path.setAttribute(
        "d",
        pathOf(
          points.map((point) => point[index]),
          top,
          capacity,
        ),
      ),
    );
    element.setAttribute("aria-label", label);
    return top;
  };
  return { element, draw };
}

/** SVG path with the newest value at the right edge. A value between two gaps is a dot. */
export function pathOf(values, top, capacity) {
  const step = (WIDTH - EDGE) / (capacity - 1);
  const left = WIDTH - EDGE - (values.length - 1) * step;
  const place = (value, index) => {
    const y = HEIGHT - 1 - (value / top) * (HEIGHT - 1 - TOP);
    return `${(left + index * step).toFixed(1)} ${y.toFixed(1)}`;
  };
  const part = (value, index) => {
    if (value === null) return "";
    const isAlone = (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null;
    return `${(values[index - 1] ?? null) === null ? "M" : "L"}${place(value, index)}${isAlone ? "h0" : ""}`;
  };
  return values.map(part).join("");
}
