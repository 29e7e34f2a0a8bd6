/** What all views of `POST /predict` share: one text a line, one answer for each. */

import { predict } from "../api.js";
import { el, milliseconds } from "../dom.js";
import { receipt, stagesOf } from "../receipt.js";

const PATH = "predict";

/**
 * @param {{fields?: (model: object) => import("../fields.js").Field[], fixed?: object, verb: string,
 *   show: (prediction: object, text: string, model: object) => Node}} parts
 *   `fixed` are parameters that are always sent
 * @returns {import("../workbench.js").View}
 */
export function predictionView({ fields = () => [], fixed = {}, verb, show }) {
  return {
    path: PATH,
    label: "Text",
    hint: "One text a line. Several lines go in one request and share a batch.",
    verb,
    fields,
    textOf,
    body: (text, values) => bodyOf(text, { ...values, ...fixed }),
    run: (job) => run(job, show),
  };
}

/** An example, as it would be typed: words with blanks between them, numbers as the JSON that is sent. */
function textOf(inputs) {
  if (Array.isArray(inputs)) return inputs.join(" ");
  return typeof inputs === "object" ? JSON.stringify(inputs) : String(inputs);
}

/** A line that holds an object of numbers is sent as one; all else is text. */
function inputOf(line) {
  if (!line.trim().startsWith("{")) return line;
  try {
    const value = JSON.parse(line);
    return "frames" in value || "wav" in value ? value : line;
  } catch {
    return line;
  }
}

/** What an answer is shown beside: the text itself, or what the numbers are. */
function described(input) {
  if (typeof input === "string") return input;
  return input.frames ? `${input.frames.length} frames` : "sound";
}

/** Empty lines between texts are no texts; nothing at all is sent as it is, and refused in the service's words. */
function bodyOf(text, parameters) {
  const lines = text.split("\n").filter((line) => line.trim()).map(inputOf);
  const inputs = lines.length > 1 ? lines : (lines[0] ?? "");
  return Object.keys(parameters).length ? { inputs, parameters } : { inputs };
}

async function run({ model, body, place, signal }, show) {
  const { answer, requestId } = await predict(body, signal);
  const texts = Array.isArray(body.inputs) ? body.inputs : [body.inputs];
  const shown = answer.predictions.map((prediction, index) => {
    const title = texts.length > 1 ? `Answer ${index + 1}` : "Answer";
    return el("article", { class: "answer", "aria-label": title }, show(prediction, described(texts[index]), model));
  });
  const { timings } = answer;
  const facts = [
    ["total", milliseconds(timings.total_ms)],
    ["batch size", String(timings.batch_size)],
  ];
  place.replaceChildren(...shown, receipt({ path: PATH, body, requestId, stages: stagesOf(timings), facts }));
  return `${shown.length === 1 ? "One answer" : `${shown.length} answers`} in ${milliseconds(timings.total_ms)}.`;
}
