/** Line of one value over the steps of an input, with a cursor. */

import { figure, Plot, rangeAround } from "../charts/plot.js";
import { StepCursor } from "../charts/step_cursor.js";
import { el } from "../elements/dom.js";

const ROOM = 0.06;

/**
 * @param {{name: string, values: number[]}} series one value for each step
 * @returns {HTMLElement}
 */
export function stepsChart({ name, values }) {
  const plot = new Plot({ xTitle: "step", layers: ["plot-line is-ahead"] });
  const last = values.length - 1;
  plot.scale({ x: [0, Math.max(last, 1)], y: rangeAround(values, ROOM), yTitle: name, xUnit: 1 });
  plot.line(
    0,
    values.map((value, step) => [step, value]),
  );
  const readout = el("p", { class: "readout", "aria-hidden": "true" });
  const cursor = new StepCursor(plot.surface, (step) => {
    plot.cursorAt(step);
    readout.textContent = `step ${step + 1} of ${values.length}: ${name} ${figure(values[step])}`;
    return readout.textContent;
  });
  cursor.range(`${name}, step by step`, 0, last, 0);
  plot.surface.addEventListener("pointermove", (event) => cursor.moveTo(plot.placeOf(event).x));
  return el("figure", { class: "steps-chart" }, plot.element, readout);
}
