/** Attention over a clip: for each word the strip of frames, how much it looked at each, and where. */

import { piecesOf, targetWord, wordBox } from "../charts/attention_map.js";
import { el, percent } from "../elements/dom.js";
import { drawVeil, strongestPlace } from "./picture_attention.js";
import { drawFrame } from "./clip_frames.js";

/**
 * @param {{tokens: string[], rows: number, columns: number, weights: number[][][]}} attention
 * @param {number[]} numbers of the frames that were read
 * @param {Promise<import("./clip_frames.js").Frames>} coming
 * @returns {HTMLElement}
 */
export function clipAttention({ tokens, rows, columns, weights }, numbers, coming) {
  const moments = numbers.map((number) => momentOf(number, rows, columns));
  const strip = el("ol", { class: "film", "aria-label": "Frames that were read" }, ...moments.map(({ item }) => item));
  const readout = el("p", { class: "readout", "aria-hidden": "true" }, "Point at a word, or move with the arrow keys.");
  const pieces = piecesOf(tokens);
  const looked = weights.map((frames) => strongestMoment(frames, numbers, rows, columns));
  const words = pieces.map((piece, index) => targetWord(piece, looked[index]));
  const light = (chosen) => {
    const most = Math.max(...weights[chosen].flat()) || 1;
    const shares = weights[chosen].map(sum);
    const longest = Math.max(...shares) || 1;
    moments.forEach(({ item, veil }, index) => {
      drawVeil(veil, weights[chosen][index], most);
      item.style.setProperty("--share", (shares[index] / longest).toFixed(3));
    });
    words.forEach((word, index) => word.setAttribute("aria-selected", String(index === chosen)));
    readout.textContent = `${pieces[chosen]} ← ${looked[chosen]}`;
  };
  coming.then(({ bitmaps }) => moments.forEach(({ frame }, index) => drawn(frame, bitmaps[numbers[index]])), () => {});
  const box = wordBox("Caption, in pieces", words, light);
  return el("div", { class: "clip-attention" }, box, readout, strip, tableOf(pieces, looked));
}

/** A frame with its veil, and below it a bar for its share of the attention. */
function momentOf(number, rows, columns) {
  const frame = el("canvas", { class: "film-frame" });
  const veil = el("canvas", { class: "veil", width: columns, height: rows });
  const picture = el("div", { class: "veiled", role: "img", "aria-label": `Frame ${number}` }, frame, veil);
  const bar = el("span", { class: "film-bar", "aria-hidden": "true" }, el("span", {}));
  const item = el("li", { "--share": 0 }, picture, bar, el("span", { class: "film-number" }, number));
  return { item, frame, veil };
}

/** The browser may have the first frame alone. */
function drawn(canvas, bitmap) {
  if (bitmap) drawFrame(canvas, bitmap);
}

const sum = (row) => row.reduce((total, weight) => total + weight, 0);

/** Frame with most of the attention, and the place in it, in words. */
function strongestMoment(frames, numbers, rows, columns) {
  const shares = frames.map(sum);
  const moment = shares.indexOf(Math.max(...shares));
  return `frame ${numbers[moment]}, ${percent(shares[moment])}; ${strongestPlace(frames[moment], rows, columns)}`;
}

function tableOf(pieces, looked) {
  const head = el("tr", {}, ...["word", "looked at"].map((title) => el("th", { scope: "col" }, title)));
  const rows = pieces.map((piece, index) =>
    el("tr", {}, el("th", { scope: "row" }, piece), el("td", {}, looked[index])),
  );
  const table = el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...rows));
  return el("details", {}, el("summary", {}, "As a table"), table);
}
