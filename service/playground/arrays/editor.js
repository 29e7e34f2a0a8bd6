/** Editor for named arrays as JSON. */

import { inputField, textArea } from "../editors/text.js";
import { el } from "../elements/dom.js";

/**
 * @param {{inputs: {name: string, dtype: string, shape: (number|string)[], description?: string}[], maxSteps: number}}
 *   parts arrays of the model
 * @returns {import("../editors/text.js").Editor}
 */
export function arraysEditor({ inputs, maxSteps }) {
  const control = textArea({ rows: 8, class: "numbers", wrap: "off" });
  const isOverTime = inputs.some(({ shape }) => shape[0] === "time");
  const hint = [
    "JSON: an object with nested lists of numbers by name, without a batch axis.",
    ...(isOverTime ? [`At most ${maxSteps} steps of time.`] : []),
  ].join(" ");
  const element = inputField({ label: "Arrays", hint, control });
  element.prepend(formsOf(inputs));
  return {
    element,
    control,
    value: () => ({ tensors: arraysOf(control.value) }),
    show: ({ tensors }) => {
      control.value = textOf(tensors);
    },
    close: () => {},
  };
}

/** Name of an example by its number, with the length of its longest array. */
export function nameOf({ tensors }, index) {
  const [longest] = Object.values(tensors).filter(Array.isArray).toSorted((one, other) => other.length - one.length);
  return `Arrays ${index + 1}${longest ? `, ${longest.length} ${longest.length === 1 ? "row" : "rows"}` : ""}`;
}

/** First number of each row of the first array that has rows. */
export function firstColumnOf(tensors) {
  const rows = Object.values(tensors).find(Array.isArray) ?? [0];
  return rows.map((row) => [row].flat(Infinity)[0] ?? 0);
}

/** Form of an array in words: `float32 [time, 3]`. */
export const formOf = ({ dtype, shape }) => (shape.length ? `${dtype} [${shape.join(", ")}]` : dtype);

/** List of arrays, with their forms and descriptions. */
function formsOf(arrays) {
  const items = arrays.map((array) => {
    const range = [array.minimum, array.maximum].some((bound) => bound !== undefined)
      ? `, ${array.minimum ?? "−∞"} to ${array.maximum ?? "∞"}`
      : "";
    const about = `: ${formOf(array)}${range}${array.description ? `, ${array.description}` : ""}`;
    return el("li", {}, el("code", {}, array.name), about);
  });
  return el("ul", { class: "array-forms", "aria-label": "Inputs of the model" }, ...items);
}

/**
 * @param {string} text JSON of the arrays, of an input, or of a whole request
 * @returns {Object<string, unknown>} arrays by name. Throws if nothing can be sent; the service validates the rest
 */
export function arraysOf(text) {
  if (!text.trim()) throw new Error("no arrays yet: paste some, or run an example");
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`invalid JSON: ${error.message}`);
  }
  const arrays = value?.inputs?.tensors ?? value?.tensors ?? value;
  if (typeof arrays !== "object" || arrays === null || Array.isArray(arrays)) {
    throw new Error("the JSON is no object with arrays by name");
  }
  return arrays;
}

/** JSON with a line for each row, so that it can be read and edited. */
export function textOf(tensors) {
  const parts = Object.entries(tensors).map(([name, value]) => `  ${JSON.stringify(name)}: ${rowsOf(value)}`);
  return `{\n${parts.join(",\n")}\n}`;
}

function rowsOf(value) {
  if (!Array.isArray(value) || !Array.isArray(value[0])) return JSON.stringify(value);
  return `[\n${value.map((row) => `    ${JSON.stringify(row)}`).join(",\n")}\n  ]`;
}
