/** Where a text is typed. */

import { el } from "../elements/dom.js";

/**
 * Where an input is made: what stands in the form above the parameters.
 * @typedef {object} Editor
 * @property {HTMLElement} element
 * @property {HTMLElement} control with the id `input`, where refusals are marked
 * @property {() => unknown} value the request's inputs, or a promise of them while they are being read; throws with a
 *   sentence if there is nothing that could be sent
 * @property {(inputs: unknown) => void} show an example
 * @property {() => void} close lets go of what it holds
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

/** The input itself; a form has one. */
export const textArea = (attributes) =>
  el("textarea", {
    id: "input",
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": "input-hint",
    ...attributes,
  });

/**
 * @param {{label: string, hint: string, control: HTMLElement, row?: HTMLElement}} parts `row` is what the control
 *   stands in, if it does not stand alone
 * @param {...Node} more what stands between the control and the hint
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
