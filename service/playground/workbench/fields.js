/** Controls for the parameters of a request. */

import { el } from "../elements/dom.js";

/**
 * One parameter. A slider's `off` is the value at which the parameter is left out of the request.
 * @typedef {{name: string, label: string, kind: "slider"|"number", value: number|string, min: number, max: number,
 *   step?: number, off?: number, offText?: string, hint?: string, placeholder?: string}} Field
 */

/**
 * @param {Field[]} fields
 * @returns {{element: HTMLElement, values: () => Object<string, number>, control: (name: string) => HTMLElement|null}}
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

function controlFor(field) {
  return field.kind === "slider" ? sliderFor(field) : numberFor(field);
}

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

function framed(name, label, hint, input, shown) {
  const hintId = `${input.id}-hint`;
  if (hint) input.setAttribute("aria-describedby", hintId);
  const title = el("span", { class: "field-title" }, el("label", { for: input.id }, label), shown);
  return el(
    "div",
    { class: "field", "data-field": name },
    title,
    input,
    hint ? el("p", { class: "hint", id: hintId }, hint) : null,
  );
}
