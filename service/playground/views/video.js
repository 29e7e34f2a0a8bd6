/** Video: the clip, its caption, what is done and what comes next, and where the model looked for each word. */

import { clipAttention } from "../clips/clip_attention.js";
import { clipEditor } from "../clips/clip_editor.js";
import { framesOf, player } from "../clips/clip_frames.js";
import { el } from "../elements/dom.js";
import { beamFields } from "../workbench/beam_fields.js";
import { bars } from "./classification.js";
import { predictionView } from "./prediction.js";
import { pictureThumbnail } from "../editors/thumbnails.js";

const MAX_BARS = 3;

const INPUT = {
  editor: ({ options }) => clipEditor({ frames: options.max_frames }),
  nameOf: (_, index, answer) => answer?.text || `Clip ${index + 1}`,
  thumbnailOf: ({ clip, pictures }) => pictureThumbnail(clip ?? pictures[0]),
};

function show(prediction, input) {
  const { text, score, attention, frames, moments, num_frames: count } = prediction;
  const coming = framesOf(input);
  const said = typeof score === "number" ? el("p", { class: "score" }, `score ${score.toFixed(2)}`) : null;
  const read = el("p", { class: "score" }, `${new Set(frames).size} of ${count} frames read`);
  const told = el(
    "div",
    { class: "told" },
    bars(likeliest(moments.labels, moments.action.at(-1)), "Action"),
    bars(likeliest(moments.labels, moments.next_action.at(-1)), "What comes next"),
  );
  const words = el("div", {}, el("p", { class: "translated" }, text || "(an empty text)"), said, read, told);
  const looked = attention?.tokens.length ? clipAttention(attention, frames, coming) : null;
  return el("div", { class: "filmed" }, el("div", { class: "film-head" }, player(coming), words), looked);
}

/** The labels with the largest probabilities, as an answer of a classifier has them. */
function likeliest(labels, probabilities) {
  const ranked = labels.map((label, index) => ({ label, score: probabilities[index] }));
  return { top_k: ranked.sort((one, other) => other.score - one.score).slice(0, MAX_BARS) };
}

export const video = predictionView({
  verb: "Describe",
  input: INPUT,
  fields: beamFields,
  fixed: { return_attention: true, return_moments: true },
  show,
});
