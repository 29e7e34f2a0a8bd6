/** Base of all views of `POST /predict`: all inputs in one request, one answer each. */

import { textsEditor } from "../editors/text.js";
import { el, milliseconds } from "../elements/dom.js";
import { predict } from "../requests/api.js";
import { receipt, stagesOf } from "../workbench/receipt.js";

const PATH = "predict";

/**
 * Kind of input: its editor, and what its examples are called and look like.
 * @typedef {{editor: (model: object) => import("../editors/text.js").Editor,
 *   nameOf: (inputs: unknown, index: number, answer: object|null) => string,
 *   thumbnailOf?: (inputs: unknown, model: object) => Element}} InputKind
 */

/** @type {InputKind} */
const TEXTS = {
  editor: () => textsEditor({ label: "Text", textOf }),
  nameOf: textOf,
};

/**
 * @param {{fields?: (model: object) => import("../workbench/fields.js").Field[], fixed?: object, verb: string,
 *   input?: InputKind, show: (prediction: object, input: unknown, model: object) => Node}} parts
 *   `fixed` are parameters of every request
 * @returns {import("../workbench/workbench.js").View}
 */
export function predictionView({ fields = () => [], fixed = {}, verb, input = TEXTS, show }) {
  return {
    path: PATH,
    verb,
    fields,
    ...input,
    body: (inputs, values) => bodyOf(inputs, { ...values, ...fixed }),
    run: (job) => run(job, show),
  };
}

/** Example as text: words separated by blanks. */
function textOf(inputs) {
  return Array.isArray(inputs) ? inputs.join(" ") : String(inputs);
}

const bodyOf = (inputs, parameters) => (Object.keys(parameters).length ? { inputs, parameters } : { inputs });

async function run({ model, body, place, signal }, show) {
  const { answer, requestId } = await predict(body, signal);
  const inputs = Array.isArray(body.inputs) ? body.inputs : [body.inputs];
  const shown = answer.predictions.map((prediction, index) => {
    const title = inputs.length > 1 ? `Answer ${index + 1}` : "Answer";
    return el("article", { class: "answer", "aria-label": title }, show(prediction, inputs[index], model));
  });
  const { timings } = answer;
  const facts = [
    ["total", milliseconds(timings.total_ms)],
    ["batch size", String(timings.batch_size)],
    ...(answer.real_time_factor ? [["real-time factor", answer.real_time_factor.toPrecision(2)]] : []),
  ];
  place.replaceChildren(...shown, receipt({ path: PATH, body, requestId, stages: stagesOf(timings), facts }));
  return `${shown.length === 1 ? "One answer" : `${shown.length} answers`} in ${milliseconds(timings.total_ms)}.`;
}
