/** Heat map of attention weights, with pointer and keyboard navigation, and the numbers as a table. */

import { el, percent } from "../elements/dom.js";
import { roveFocus } from "../elements/roving_focus.js";

const WORD_START = "▁";
const END = "<eos>";
const JOINER = /^\uffed|\uffed$/g;

/** Readable pieces: without joiners and the word-start mark, and with a dot before pieces inside a word. */
export function piecesOf(tokens) {
  const areMarked = tokens.some((token) => token.startsWith(WORD_START));
  return tokens.map((token) => {
    if (token === END) return "end";
    if (token.startsWith(WORD_START)) return token.slice(1) || "␣";
    return areMarked && /^[\p{L}\p{N}]/u.test(token) ? `·${token}` : token.replace(JOINER, "");
  });
}

/**
 * @param {{source_tokens: string[], target_tokens: string[], weights: number[][]}} attention
 * @returns {HTMLElement}
 */
export function attentionMap({ source_tokens, target_tokens, weights }) {
  const sources = piecesOf(source_tokens);
  const targets = piecesOf(target_tokens);
  const sourceWords = sources.map((piece) => el("span", { class: "piece" }, piece));
  const targetWords = targets.map((piece, index) => targetWord(piece, strongest(weights[index], sources)));
  const columns = sources.map((piece) => el("th", { scope: "col" }, el("span", {}, piece)));
  const rows = targets.map((piece, index) => rowOf(piece, weights[index]));
  const readout = el(
    "p",
    { class: "readout", "aria-hidden": "true" },
    "Point at a word of the translation, or move with the arrow keys.",
  );
  const board = { sourceWords, targetWords, columns, rows, weights };

  const light = (row, column = -1) => {
    mark(board, row, column);
    readout.textContent =
      row < 0
        ? ""
        : column < 0
          ? `${targets[row]} ← ${strongest(weights[row], sources)}`
          : `${targets[row]} ← ${sources[column]} ${percent(weights[row][column])}`;
  };
  const pairs = el(
    "div",
    { class: "pairs" },
    el("p", { class: "pieces", "aria-label": "Source, in pieces" }, ...sourceWords),
    wordBox("Translation, in pieces", targetWords, light),
    readout,
  );
  return el("div", { class: "attention" }, pairs, tableOf(columns, rows, light));
}

/** The two or three pieces with the largest weights. */
function strongest(row, sources) {
  const order = row.map((weight, index) => [weight, index]).sort(([one], [other]) => other - one);
  return order
    .filter(([weight], rank) => rank === 0 || (rank < 3 && weight >= 0.1))
    .map(([weight, index]) => `${sources[index]} ${percent(weight)}`)
    .join(", ");
}

/** Selectable word, labelled with its attention. */
export function targetWord(piece, looked) {
  return el(
    "span",
    {
      class: "piece is-target",
      role: "option",
      "aria-selected": "false",
      "aria-label": `${piece}, looked at ${looked}`,
      tabindex: -1,
    },
    piece,
  );
}

/** Group of words, one of them selected with the pointer or the arrow keys. */
export function wordBox(name, words, light) {
  const box = el(
    "div",
    { class: "pieces", role: "listbox", "aria-label": name, "aria-orientation": "horizontal" },
    ...words,
  );
  roveFocus(box, () => words);
  const follow = ({ target }) => words.includes(target) && light(words.indexOf(target));
  box.addEventListener("pointerover", follow);
  box.addEventListener("focusin", follow);
  return box;
}

function rowOf(piece, weights) {
  const cells = weights.map((weight) =>
    el(
      "td",
      { class: "cell", "--weight": weight.toFixed(3) },
      el("span", { class: "number" }, Math.round(weight * 100)),
    ),
  );
  return el("tr", {}, el("th", { scope: "row" }, piece), ...cells);
}

function tableOf(columns, rows, light) {
  const caption = el(
    "caption",
    {},
    "Attention in percent: each row is a piece of the translation, each column a piece of the source",
  );
  const table = el(
    "table",
    { class: "heat" },
    caption,
    el("thead", {}, el("tr", {}, el("td"), ...columns)),
    el("tbody", {}, ...rows),
  );
  table.addEventListener("pointerover", ({ target }) => {
    const row = rows.indexOf(target.closest("tr"));
    if (row >= 0) light(row, (target.closest("td")?.cellIndex ?? 0) - 1);
  });
  const numbers = el("input", {
    type: "checkbox",
    onchange: () => table.classList.toggle("has-numbers", numbers.checked),
  });
  const scroll = el(
    "div",
    { class: "heat-scroll", tabindex: 0, role: "region", "aria-label": "Attention table" },
    table,
  );
  return el("div", { class: "heat-frame" }, scroll, el("label", { class: "switch" }, numbers, " Show numbers"));
}

function mark({ sourceWords, targetWords, columns, rows, weights }, row, column) {
  sourceWords.forEach((word, index) =>
    word.style.setProperty("--weight", row < 0 ? "0" : weights[row][index].toFixed(3)),
  );
  targetWords.forEach((word, index) => word.setAttribute("aria-selected", String(index === row)));
  rows.forEach((element, index) => element.classList.toggle("is-lit", index === row));
  columns.forEach((element, index) => element.classList.toggle("is-lit", index === column));
}
