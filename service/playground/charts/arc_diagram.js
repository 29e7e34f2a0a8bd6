/** Dependency tree of a sentence as an arc diagram: SVG, as wide as the sentence needs. */

import { svg } from "../elements/dom.js";
import { roveFocus } from "../elements/roving_focus.js";
import { arcLayout } from "./arc_layout.js";

const LEVEL = 26;
const TOP = 16;
const CORNER = 9;
const ARROW = 4;
const WORDS_HEIGHT = 58;
const MAX_CHARACTERS = 32;
/** The label of a longer arc stands near its dependent, not in the middle, which may be out of view. */
const LONG = 360;
const NEAR = 28;

/** Sizes of the texts in pixels. The style sheet reads them from the element, so that what is measured is what is drawn. */
const SIZES = { word: 17, tag: 11, label: 12 };

/**
 * @param {{tokens: {text: string, tag: string, head: number|null, relation: string}[],
 *   nameOf: (word: number) => string, onPoint: (word: number) => void}} parts `nameOf`: what a screen reader says of a
 *   word; `onPoint`: a word is pointed at or focused
 * @returns {SVGElement} a list box of words
 */
export function arcDiagram({ tokens, nameOf, onPoint }) {
  const measure = measurer();
  const widths = tokens.map(({ text, tag }) => Math.max(measure(shortened(text), "word"), measure(tag, "tag")));
  const { arcs, centres, width, numLevels } = arcLayout(tokens, widths, (label) => measure(label, "label"));
  const base = TOP + numLevels * LEVEL;
  const height = base + WORDS_HEIGHT;
  const lines = arcs.map((arc) => arcOf(arc, base, measure(arc.label, "label")));
  const words = tokens.map((token, word) => wordOf(token, centres[word], widths[word], base, nameOf(word)));
  const sizes = Object.fromEntries(Object.entries(SIZES).map(([name, size]) => [`--${name}-size`, `${size}px`]));
  const box = { viewBox: `0 0 ${Math.ceil(width)} ${height}`, width: Math.ceil(width), height, ...sizes };
  const role = { role: "listbox", "aria-label": "Words and their heads", "aria-orientation": "horizontal" };
  const diagram = svg("svg", { class: "arcs", ...box, ...role }, svg("g", { "aria-hidden": "true" }, ...lines), ...words);
  roveFocus(diagram, () => words);
  const point = ({ target }) => {
    const chosen = words.indexOf(target.closest("[role=option]"));
    if (chosen < 0) return;
    light({ tokens, words, lines, arcs }, chosen);
    onPoint(chosen);
  };
  diagram.addEventListener("pointerover", point);
  diagram.addEventListener("focusin", point);
  return diagram;
}

/** Width of a text in the font of a role, in pixels. */
function measurer() {
  const context = document.createElement("canvas").getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const family = (role) => style.getPropertyValue(role === "word" ? "--reading" : "--interface");
  return (text, role) => {
    context.font = `${role === "tag" ? "600 " : ""}${SIZES[role]}px ${family(role)}`;
    return Math.ceil(context.measureText(text).width);
  };
}

/** A word of a diagram: whole, or its beginning if it is very long. */
function shortened(text) {
  const characters = Array.from(text);
  return characters.length > MAX_CHARACTERS ? `${characters.slice(0, MAX_CHARACTERS - 1).join("")}…` : text;
}

function arcOf({ head, dependent, label, level, left, right, isLeftward }, base, labelWidth) {
  const y = base - (level + 1) * LEVEL;
  const isRoot = head === null;
  const path = isRoot ? `M${left} ${y}V${base}` : bridge(left, right, y, base);
  const tip = isRoot || isLeftward ? left : right;
  const arrow = `M${tip - ARROW} ${base - 2 * ARROW}H${tip + ARROW}L${tip} ${base}Z`;
  const near = isLeftward ? left + NEAR + labelWidth / 2 : right - NEAR - labelWidth / 2;
  const place = right - left > LONG ? near : (left + right) / 2;
  return svg(
    "g",
    { class: isRoot ? "arc is-root" : "arc", "data-dependent": dependent },
    svg("path", { class: "arc-line", d: path }),
    svg("path", { class: "arc-tip", d: arrow }),
    svg("text", { class: "arc-label", x: place, y: isRoot ? y - 3 : y + 4 }, label),
  );
}

/** Line up from `left`, over, and down at `right`, with round corners. */
function bridge(left, right, y, base) {
  const corner = Math.min(CORNER, (right - left) / 2);
  const over = `Q${left} ${y} ${left + corner} ${y}H${right - corner}Q${right} ${y} ${right} ${y + corner}`;
  return `M${left} ${base}V${y + corner}${over}V${base}`;
}

function wordOf({ text, tag }, centre, width, base, name) {
  const room = { x: centre - width / 2 - 5, y: base + 3, width: width + 10, height: WORDS_HEIGHT - 8, rx: 5 };
  return svg(
    "g",
    { class: "arc-word", role: "option", "aria-selected": "false", "aria-label": name, tabindex: -1 },
    svg("rect", { class: "arc-word-room", ...room }),
    svg("text", { class: "arc-text", x: centre, y: base + 24 }, shortened(text)),
    svg("text", { class: "arc-tag", x: centre, y: base + 43 }, tag),
  );
}

/** Show a word with its head and its dependents, and the arcs between them. */
function light({ tokens, words, lines, arcs }, chosen) {
  words.forEach((word, index) => {
    word.setAttribute("aria-selected", String(index === chosen));
    word.classList.toggle("is-near", tokens[chosen].head === index || tokens[index].head === chosen);
  });
  lines.forEach((line, index) => {
    const isLit = arcs[index].dependent === chosen || arcs[index].head === chosen;
    line.classList.toggle("is-lit", isLit);
    line.classList.toggle("is-own", arcs[index].dependent === chosen);
    if (isLit) line.parentNode.append(line); // above the others; their order says nothing
  });
}
