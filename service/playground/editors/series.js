/** Editor for a series of numbers: draw, paste, or read it from a file. */

import { el } from "../elements/dom.js";
import { clearRefusal, markControl } from "../workbench/refusal.js";
import { DrawingPad } from "./drawing_pad.js";
import { takeFiles } from "./file_drop.js";
import { csvOf, rowsOf } from "./series_text.js";
import { inputField, textArea } from "./text.js";

/**
 * @param {{channels: string[], numSteps: number, hint: string}} parts `numSteps` of a new drawing
 * @returns {import("./text.js").Editor}
 */
export function seriesEditor({ channels, numSteps, hint }) {
  const closed = new AbortController();
  const control = textArea({ rows: 5, class: "numbers", wrap: "off" });
  const file = el("input", { type: "file", accept: ".csv,.tsv,.txt,.json", "aria-label": "A file of numbers" });
  const pad = new DrawingPad(channels, (rows) => (control.value = csvOf(rows, channels)));
  const follow = () => pad.show(drawableRows(control.value, channels, numSteps));
  const write = (text) => {
    control.value = text;
    follow();
  };
  const element = inputField({ label: "Series", hint, control }, file);
  element.prepend(pad.element);
  control.addEventListener("input", follow);
  takeFiles(element, file, (given) => readText(given, element, control).then(write), closed.signal);
  follow();
  return {
    element,
    control,
    value: () => ({ frames: rowsOf(control.value, channels) }),
    show: ({ frames }) => write(csvOf(frames, channels)),
    close: () => closed.abort(),
  };
}

/** Rows for the drawing pad; null if the text has no valid numbers for these channels. */
function drawableRows(text, channels, numSteps) {
  if (!text.trim()) return Array.from({ length: numSteps }, () => channels.map(() => 0));
  try {
    const rows = rowsOf(text, channels);
    return rows.length && rows.every((row) => row.length === channels.length) ? rows : null;
  } catch {
    return null;
  }
}

async function readText(file, field, control) {
  clearRefusal(field);
  try {
    return await file.text();
  } catch {
    markControl(control, `the browser cannot read ${file.name}`);
    return control.value;
  }
}
