/** Forecast chart: past values, forecast, and bands of prediction intervals. */

import { el } from "../elements/dom.js";
import { figure, Plot, rangeAround } from "./plot.js";
import { StepCursor } from "./step_cursor.js";

const ROOM = 0.06;

/**
 * Bands from pairs of quantiles, the widest first: 0.1 and 0.9 contain 80 %.
 * @param {Object<string, unknown>} quantiles by their number
 * @returns {{low: string, high: string, share: number}[]}
 */
export function bandsOf(quantiles) {
  const levels = Object.keys(quantiles).sort((one, other) => one - other);
  return levels.slice(0, Math.floor(levels.length / 2)).map((low, index) => {
    const high = levels.at(-1 - index);
    return { low, high, share: high - low };
  });
}

/**
 * @param {{name: string, past: number[], forecast: number[], period: number,
 *   bands: {share: number, steps: [number, number][]}[]}} series of one channel; step 0 is the last of the past
 * @returns {HTMLElement}
 */
export function forecastChart(series) {
  const { name, past, forecast, bands, period } = series;
  const first = 1 - past.length;
  const layers = [...bands.map(() => "plot-band"), "plot-line is-past", "plot-line is-ahead"];
  const plot = new Plot({ xTitle: "steps from now", layers });
  const y = rangeAround([...past, ...forecast, ...bands.flatMap(({ steps }) => steps.flat())], ROOM);
  plot.scale({ x: [first, forecast.length], y, yTitle: name, xUnit: period });
  const now = past.at(-1);
  bands.forEach(({ steps }, layer) => plot.band(layer, [[now, now], ...steps].map((ends, at) => [at, ...ends])));
  plot.line(
    bands.length,
    past.map((value, at) => [first + at, value]),
  );
  plot.line(
    bands.length + 1,
    [now, ...forecast].map((value, at) => [at, value]),
  );
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  const cursor = new StepCursor(plot.surface, (step) => {
    plot.cursorAt(step);
    readout.textContent = said(series, step);
    return readout.textContent;
  });
  cursor.range(`Forecast of ${name}, step by step`, first, forecast.length, 1);
  plot.surface.addEventListener("pointermove", (event) => cursor.moveTo(plot.placeOf(event).x));
  return el("figure", { class: "forecast-chart" }, plot.element, readout, legend(bands));
}

function said({ name, past, forecast, bands }, step) {
  if (step <= 0) return `${step ? `${-step} steps ago` : "now"}: ${name} ${figure(past.at(step - 1))}`;
  const between = bands.map(({ share, steps }) => {
    const [low, high] = steps[step - 1].map(figure);
    return `, ${Math.round(share * 100)} % between ${low} and ${high}`;
  });
  return `+${step}: ${name} ${figure(forecast[step - 1])}${between.join("")}`;
}

function legend(bands) {
  const inside = ({ share }) => `${Math.round(share * 100)} % expected inside`;
  const widths = bands.map((band) => el("li", { class: "key-band" }, inside(band)));
  const lines = [el("li", { class: "key-past" }, "past"), el("li", { class: "key-ahead" }, "forecast")];
  return el("ul", { class: "plot-legend" }, ...lines, ...widths);
}
