/** Captioning: the caption, and the attention of each word over the picture. */

import { pictureAttention } from "../clips/picture_attention.js";
import { pictureEditor } from "../editors/picture.js";
import { pictureThumbnail } from "../editors/thumbnails.js";
import { el } from "../elements/dom.js";
import { beamFields } from "../workbench/beam_fields.js";
import { predictionView } from "./prediction.js";

const INPUT = {
  editor: ({ options }) => pictureEditor({ columns: options.image_columns, rows: options.image_rows }),
  nameOf: (_, index, answer) => answer?.text || `Picture ${index + 1}`,
  thumbnailOf: ({ png }) => pictureThumbnail(png),
};

function show(prediction, { png }) {
  const { text, score, attention } = prediction;
  const said = typeof score === "number" ? el("p", { class: "score" }, `score ${score.toFixed(2)}`) : null;
  const looked = attention?.tokens.length ? pictureAttention(attention, png) : null;
  return el("div", { class: "captioned" }, el("p", { class: "translated" }, text || "(an empty text)"), said, looked);
}

export const captioning = predictionView({
  verb: "Describe",
  input: INPUT,
  fields: beamFields,
  fixed: { return_attention: true },
  show,
});
