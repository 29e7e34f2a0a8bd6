/** Translation: the text, what of it was copied, and the attention of each piece over the source. */

import { attentionMap } from "../charts/attention_map.js";
import { copiedWords } from "../elements/copied_words.js";
import { el } from "../elements/dom.js";
import { beamFields } from "../workbench/beam_fields.js";
import { predictionView } from "./prediction.js";

function show(prediction, text, model) {
  const score =
    typeof prediction.score === "number" ? el("p", { class: "score" }, `score ${prediction.score.toFixed(2)}`) : null;
  const { source, written, legend } = copiedWords(text, { text: prediction.text, copied: prediction.copied ?? [] });
  const result = el(
    "p",
    { class: "translated", lang: model.options?.target_language },
    ...(prediction.text ? written : ["(an empty text)"]),
  );
  const constrained = model.options?.grammar
    ? el("p", { class: "constrained" }, "Constrained by the grammar of this model: the answer always parses.")
    : null;
  const map = prediction.attention?.target_tokens.length ? attentionMap(prediction.attention) : null;
  return el(
    "div",
    { class: "translation" },
    el("p", { class: "given-text", lang: model.options?.source_language }, ...source),
    result,
    legend,
    score,
    constrained,
    map,
  );
}

export const translation = predictionView({
  verb: "Translate",
  fields: beamFields,
  fixed: { return_attention: true },
  show,
});
