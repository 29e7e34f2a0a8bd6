/** Examples of a model: buttons that show what the input is, and run it. */

import { el } from "../elements/dom.js";

const MAX_EXAMPLES = 5;
const MAX_NAME_CHARACTERS = 120;

/**
 * Texts with the same name are shown once.
 * @param {object} model
 * @param {import("./workbench.js").View} view
 * @param {(inputs: unknown) => void} run
 * @returns {HTMLElement}
 */
export function examplesOf(model, view, run) {
  const named = (model.examples ?? []).map(({ inputs, answer }, index) => ({
    name: view.nameOf(inputs, index, answer ?? null).trim(),
    inputs,
  }));
  const keyOf = ({ name, inputs }) => (view.thumbnailOf ? inputs : name);
  const distinct = [...new Map(named.filter(({ name }) => name).map((example) => [keyOf(example), example])).values()];
  const buttons = distinct.slice(0, MAX_EXAMPLES).map(({ name, inputs }) => {
    const attributes = { type: "button", class: "example", title: "Run this example", onclick: () => run(inputs) };
    return el("button", attributes, view.thumbnailOf?.(inputs, model) ?? null, shortened(name));
  });
  const label = el("span", { class: "examples-label" }, "Run an example");
  const group = { class: "examples", role: "group", "aria-label": "Examples", hidden: !buttons.length };
  return el("div", group, label, ...buttons);
}

const shortened = (name) => (name.length > MAX_NAME_CHARACTERS ? `${name.slice(0, MAX_NAME_CHARACTERS)} …` : name);
