/** Controls for the parameters of a request. */

import { el } from "../elements/dom.js";

/**
 * One parameter. A slider's `off` is the value at which the parameter is left out of the request. A `choice` is a
 * checkbox with `text` beside it; a `list` has texts with commas or line breaks between them.
 * @typedef {{name: string, label: string, kind: "slider"|"number"|"choice"|"list", value?: number|string|boolean,
 *   min?: number, max?: number, step?: number, off?: number, offText?: string, hint?: string, placeholder?: string,
 *   text?: string}} Field
 */

/**
 * @param {Field[]} fields
 * @returns {{element: HTMLElement, values: () => Object<string, unknown>, control: (name: string) => HTMLElement|null}}
 *   `values` returns the parameters that are set, by name
 */
export function fieldSet(fields) {
  const controls = new Map(fields.map((field) => [field.name, controlFor(field)]));
  const element = el(
    "div",
    { class: "fields", role: "group", "aria-label": "Parameters", hidden: !fields.length },
    ...[...controls.values()].map((control) => control.element),
  );
  const values = () =>
    Object.fromEntries(
      fields.map(({ name }) => [name, controls.get(name).value()]).filter(([, value]) => value !== null),
    );
  return { element, values, control: (name) => controls.get(name)?.input ?? null };
}

const KINDS = { slider: sliderFor, number: numberFor, choice: choiceFor, list: listFor };

const controlFor = (field) => KINDS[field.kind](field);

function sliderFor({ name, label, value, min, max, step = 1, off, offText = "off", hint }) {
  const input = el("input", { type: "range", id: `field-${name}`, min, max, step, value });
  const shown = el("output", { for: input.id, class: "field-value" });
  const isOff = () => Number(input.value) === off;
  const describe = () => {
    shown.textContent = isOff() ? offText : input.value;
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", describe);
  describe();
  const element = framed(name, label, hint, input, shown);
  return { element, input, value: () => (isOff() ? null : Number(input.value)) };
}

function numberFor({ name, label, value, min, max, step = 1, hint, placeholder }) {
  const attributes = { type: "number", id: `field-${name}`, min, max, step, value, placeholder, inputmode: "numeric" };
  const input = el("input", attributes);
  return {
    element: framed(name, label, hint, input, null),
    input,
    value: () => (input.value === "" ? null : Number(input.value)),
  };
}

function choiceFor({ name, label, value, text, hint }) {
  const input = el("input", { type: "checkbox", id: `field-${name}`, checked: value });
  const element = framed(name, label, hint, el("span", { class: "choice" }, input, text), null);
  return { element, input, value: () => input.checked || null };
}

function listFor({ name, label, hint, placeholder }) {
  const input = el("textarea", { id: `field-${name}`, class: "word-list", rows: 1, placeholder, spellcheck: "false" });
  const value = () => {
    const texts = input.value.split(/[,\n]/).map((text) => text.trim()).filter(Boolean);
    return texts.length ? texts : null;
  };
  return { element: framed(name, label, hint, input, null), input, value };
}

function framed(name, label, hint, input, shown) {
  const id = `field-${name}`;
  const hintId = `${id}-hint`;
  const title = el("span", { class: "field-title" }, el("label", { for: id }, label), shown);
  if (hint) (input.querySelector("input") ?? input).setAttribute("aria-describedby", hintId);
  return el(
    "div",
    { class: "field", "data-field": name },
    title,
    input,
    hint ? el("p", { class: "hint", id: hintId }, hint) : null,
  );
}
