/** Tasks without a view of their own: inputs and answer as JSON. */

import { textEditor } from "../editors/text.js";
import { el } from "../elements/dom.js";
import { predict } from "../requests/api.js";
import { receipt, stagesOf } from "../workbench/receipt.js";

const PATH = "predict";

function valueOf(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`invalid JSON: ${error.message}`);
  }
}

async function run({ body, place, signal }) {
  const { answer, requestId } = await predict(body, signal);
  const shown = el(
    "pre",
    { class: "json", tabindex: 0, role: "region", "aria-label": "Answer as JSON" },
    JSON.stringify(answer, null, 2),
  );
  const stages = answer.timings ? stagesOf(answer.timings) : [];
  place.replaceChildren(
    el("article", { class: "answer", "aria-label": "Answer" }, shown),
    receipt({ path: PATH, body, requestId, stages }),
  );
  return "Done.";
}

const textOf = (inputs) => JSON.stringify(inputs);

/** @type {import("../workbench/workbench.js").View} */
export const plainJson = {
  path: PATH,
  verb: "Ask",
  editor: () =>
    textEditor({
      label: "Inputs, as JSON",
      hint: "Sent as the field “inputs” of the request. Put text in double quotes.",
      textOf,
      read: valueOf,
    }),
  nameOf: textOf,
  fields: () => [],
  body: (inputs) => ({ inputs }),
  run,
};
