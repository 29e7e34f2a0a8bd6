/** Editor for text. */

import { el } from "../elements/dom.js";

/**
 * Editor of the input, above the parameters in the form.
 * @typedef {object} Editor
 * @property {HTMLElement} element
 * @property {HTMLElement} control with the id `input`, where errors are shown
 * @property {() => unknown} value inputs of the request, or a promise of them; throws with a message if there is
 *   nothing to send
 * @property {(inputs: unknown) => void} show an example
 * @property {() => void} close releases resources
 */

/**
 * @param {{label: string, hint: string, textOf: (inputs: unknown) => string, read: (text: string) => unknown}} parts
 * @returns {Editor}
 */
export function textEditor({ label, hint, textOf, read }) {
  const control = textArea({ rows: 3 });
  return {
    element: inputField({ label, hint, control }),
    control,
    value: () => read(control.value),
    show: (inputs) => {
      control.value = textOf(inputs);
    },
    close: () => {},
  };
}

/**
 * Editor for one text, line breaks included, or for one text per line.
 * @param {{label: string, textOf: (inputs: unknown) => string}} parts
 * @returns {Editor}
 */
export function textsEditor({ label, textOf }) {
  const perLine = el("input", { type: "checkbox", id: "per-line" });
  const editor = textEditor({
    label,
    hint: "Sent as one text, with its line breaks. Tick the box to send several texts in one request.",
    textOf,
    read: (text) => (perLine.checked ? linesOf(text) : text),
  });
  const choice = el("label", { class: "choice", for: perLine.id }, perLine, " One text per line");
  editor.element.querySelector(".hint").before(choice);
  const show = (inputs) => {
    perLine.checked = false;
    editor.show(inputs);
  };
  return { ...editor, show };
}

/** Lines that are not empty. An empty input is sent as one text, and rejected by the service. */
function linesOf(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return lines.length ? lines : "";
}

/** Input control; each form has one. */
export const textArea = (attributes) =>
  el("textarea", {
    id: "input",
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": "input-hint",
    ...attributes,
  });

/**
 * @param {{label: string, hint: string, control: HTMLElement, row?: HTMLElement}} parts `row` is the parent
 *   of the control, if it has one
 * @param {...Node} more nodes between the control and the hint
 * @returns {HTMLElement}
 */
export function inputField({ label, hint, control, row = control }, ...more) {
  return el(
    "div",
    { class: "field input-field", "data-field": "inputs" },
    el("label", { for: control.id }, label),
    row,
    ...more,
    el("p", { class: "hint", id: "input-hint" }, hint),
  );
}
