/** Translation: the text, and where the model looked for each piece of it. */

import { el } from "../dom.js";
import { attentionMap } from "./attention_map.js";
import { predictionView } from "./prediction.js";

const MAX_BEAMS = 8;

function fields(model) {
  const beams = Math.min(model.options?.num_beams ?? 1, MAX_BEAMS);
  return [
    {
      name: "num_beams",
      label: "Beams",
      kind: "slider",
      min: 1,
      max: MAX_BEAMS,
      value: beams,
      hint: "hypotheses kept at each step; 1 is greedy",
    },
    {
      name: "length_penalty",
      label: "Length penalty",
      kind: "slider",
      min: 0,
      max: 4,
      step: 0.1,
      value: model.options?.length_penalty ?? 1,
      hint: "more favours longer translations",
    },
  ];
}

function show(prediction, text, model) {
  const score =
    typeof prediction.score === "number" ? el("p", { class: "score" }, `score ${prediction.score.toFixed(2)}`) : null;
  const result = el(
    "p",
    { class: "translated", lang: model.options?.target_language },
    prediction.text || "(an empty text)",
  );
  const map = prediction.attention?.target_tokens.length ? attentionMap(prediction.attention) : null;
  return el(
    "div",
    { class: "translation" },
    el("p", { class: "given-text", lang: model.options?.source_language }, text),
    result,
    score,
    map,
  );
}

export const translation = predictionView({ verb: "Translate", fields, fixed: { return_attention: true }, show });
