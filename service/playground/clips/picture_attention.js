/** Attention over a picture: for each word, regions with little attention are darkened. */

import { piecesOf, targetWord, wordBox } from "../charts/attention_map.js";
import { drawPicture } from "../editors/picture.js";
import { el, percent } from "../elements/dom.js";
import { bytesOf } from "../requests/bytes.js";

const VEIL = [12, 16, 24];
const MAX_OPACITY = 0.82;

/**
 * @param {{tokens: string[], rows: number, columns: number, weights: number[][]}} attention
 * @param {string} png in base64
 * @returns {HTMLElement}
 */
export function pictureAttention({ tokens, rows, columns, weights }, png) {
  const picture = el("canvas", { class: "picture" });
  const veil = el("canvas", { class: "veil", width: columns, height: rows });
  const readout = el("p", { class: "readout", "aria-hidden": "true" }, "Point at a word, or move with the arrow keys.");
  const pieces = piecesOf(tokens);
  const looked = weights.map((row) => strongestPlace(row, rows, columns));
  const words = pieces.map((piece, index) => targetWord(piece, looked[index]));
  const light = (chosen) => {
    drawVeil(veil, weights[chosen]);
    words.forEach((word, index) => word.setAttribute("aria-selected", String(index === chosen)));
    readout.textContent = `${pieces[chosen]} ← ${looked[chosen]}`;
  };
  const drawn = drawPicture(picture, bytesOf(png));
  const frame = el("div", { class: "veiled", role: "img", "aria-label": "The picture" }, picture, veil);
  drawn.catch(() => frame.replaceChildren("The browser cannot show this picture."));
  const box = wordBox("Caption, in pieces", words, light);
  return el("div", { class: "picture-attention" }, frame, el("div", {}, box, readout, tableOf(pieces, looked)));
}

/** Opacity of the veil: none where attention is `most`, nearly full at zero. */
export function drawVeil(canvas, row, most = Math.max(...row) || 1) {
  const image = new ImageData(canvas.width, canvas.height);
  row.forEach((weight, place) => image.data.set([...VEIL, (1 - weight / most) * MAX_OPACITY * 255], place * 4));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Region with most of the attention, in words. */
export function strongestPlace(row, rows, columns) {
  const place = row.indexOf(Math.max(...row));
  const down = third(Math.floor(place / columns), rows, ["upper", "", "lower"]);
  const across = third(place % columns, columns, ["left", "", "right"]);
  const where = [down, across].filter(Boolean).join(" ") || "middle";
  return `${where}, ${percent(row[place])}`;
}

const third = (index, count, names) => names[Math.min(Math.floor(((index + 0.5) / count) * 3), 2)];

function tableOf(pieces, looked) {
  const head = el("tr", {}, ...["word", "looked at"].map((title) => el("th", { scope: "col" }, title)));
  const rows = pieces.map((piece, index) =>
    el("tr", {}, el("th", { scope: "row" }, piece), el("td", {}, looked[index])),
  );
  const table = el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...rows));
  return el("details", {}, el("summary", {}, "As a table"), table);
}
