/** Small pictures of examples: a waveform, a line of numbers, a picture. */

import { drawPicture } from "./picture.js";
import { envelopeOf, soundOf } from "./wave.js";
import { el, svg } from "../elements/dom.js";
import { bytesOf } from "../requests/bytes.js";

const WIDTH = 60;
const HEIGHT = 24;

const line = () => svg("path", { class: "thumbnail-line" });
const frame = (path) =>
  svg("svg", { class: "thumbnail", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" }, path);

/** @param {string} wav in base64 @param {number} rateHz of the model @returns {SVGElement} drawn once decoded */
export function soundThumbnail(wav, rateHz) {
  const path = line();
  const draw = ({ samples }) => path.setAttribute("d", wavePath(envelopeOf(samples, WIDTH)));
  soundOf(bytesOf(wav), rateHz).then(draw, () => {}); // the example still has its name
  return frame(path);
}

/** @param {number[]} values @returns {SVGElement} */
export function seriesThumbnail(values) {
  const path = line();
  path.setAttribute("d", seriesPath(values));
  return frame(path);
}

/** @param {string} png in base64 @returns {HTMLElement} drawn once decoded */
export function pictureThumbnail(png) {
  const canvas = el("canvas", { class: "thumbnail", "aria-hidden": "true" });
  drawPicture(canvas, bytesOf(png)).catch(() => {}); // the example still has its name
  return canvas;
}

function wavePath(envelope) {
  const loudest = Math.max(...envelope.flat().map(Math.abs)) || 1;
  const y = (value) => ((1 - value / loudest) * HEIGHT) / 2;
  return envelope.map(([low, high], x) => `M${x} ${y(high).toFixed(1)}V${y(low).toFixed(1)}`).join("");
}

function seriesPath(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (index) => (index * WIDTH) / Math.max(values.length - 1, 1);
  const y = (value) => 1 + (HEIGHT - 2) * (high > low ? (high - value) / (high - low) : 0.5);
  return values.map((value, index) => `${index ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}
