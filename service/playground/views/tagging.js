/** Tagging: the text with coloured spans. Pointing at a word, or focusing it, shows its tag. */

import { el, percent } from "../elements/dom.js";
import { roveFocus } from "../elements/roving_focus.js";
import { predictionView } from "./prediction.js";

const GOLDEN_ANGLE = 137.508;
const FIRST_HUE = 25;

/** Type of a BIO tag: `person` for `B-person` and `I-person`. */
const kindOf = (tag) => tag.replace(/^[BI]-/, "");

/** Smallest difference of two hues in an answer with few labels, in degrees. */
const CLEAR_DIFFERENCE = 30;

/** Degrees between two hues on the colour circle. */
const apart = (one, other) => 180 - Math.abs(180 - (Math.abs(one - other) % 360));

/** Hues of the labels in an answer. A label keeps its own hue in all texts, unless another label here is too close. */
function hues({ tokens, spans }, model) {
  const kinds = [...new Set((model.labels ?? []).map(kindOf))].filter((kind) => kind !== "O");
  const present = new Set(spans ? spans.map(({ label }) => label) : tokens.map(({ tag }) => kindOf(tag)));
  const wanted = Math.min(CLEAR_DIFFERENCE, 180 / present.size);
  const chosen = new Map();
  for (const kind of present) {
    let hue = (FIRST_HUE + GOLDEN_ANGLE * Math.max(kinds.indexOf(kind), 0)) % 360;
    while ([...chosen.values()].some((other) => apart(hue, other) < wanted)) hue = (hue + GOLDEN_ANGLE) % 360;
    chosen.set(kind, hue);
  }
  return (kind) => Math.round(chosen.get(kind));
}

function show(prediction, text, model) {
  const hueOf = hues(prediction, model);
  const readout = el("p", { class: "readout", "aria-hidden": "true" }, "Point at a word, or move with the arrow keys.");
  const words = prediction.tokens.map((token) => wordFor(token));
  const parts = prediction.spans ? withSpans(prediction, words, text, hueOf) : withTags(prediction, words, text, hueOf);
  const sentence = el(
    "div",
    {
      class: prediction.spans ? "sentence" : "sentence is-tagged",
      role: "listbox",
      "aria-label": "Words and their tags",
      "aria-orientation": "horizontal",
    },
    ...parts,
  );
  if (words.length) roveFocus(sentence, () => words);
  const say = ({ target }) => {
    const index = words.indexOf(target.closest("[role=option]"));
    if (index < 0) return;
    words.forEach((word, other) => word.setAttribute("aria-selected", String(other === index)));
    readout.textContent = describe(prediction.tokens[index]);
  };
  sentence.addEventListener("pointerover", say);
  sentence.addEventListener("focusin", say);
  const legend = legendOf(prediction, hueOf);
  return el("div", { class: "tagged" }, textLabel(prediction), sentence, legend, readout, table(prediction.tokens));
}

/** Colours of the kinds in this answer, with their numbers. */
function legendOf({ tokens, spans }, hueOf) {
  const counts = new Map();
  const kinds = spans ? spans.map(({ label }) => label) : tokens.map(({ tag }) => kindOf(tag));
  kinds.forEach((kind) => counts.set(kind, (counts.get(kind) ?? 0) + 1));
  const items = [...counts]
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([kind, count]) => el("li", { class: "legend-item", "--hue": hueOf(kind) }, `${kind} × ${count}`));
  return items.length ? el("ul", { class: "legend", "aria-label": "Colours" }, ...items) : null;
}

/** Label of the whole text, from models that predict one. */
const textLabel = ({ label, label_score: score }) =>
  label === undefined ? null : el("p", { class: "readout" }, `The text: ${label} · ${percent(score)}`);

const describe = ({ text, tag, score }) => `${text} · ${tag} · ${percent(score)}`;

function wordFor(token) {
  const name = `${token.text}, ${token.tag}, ${percent(token.score)}`;
  return el(
    "span",
    { class: "word", role: "option", "aria-selected": "false", "aria-label": name, tabindex: -1 },
    token.text,
  );
}

/** Text between two words. Offsets count code points as in Python, not UTF-16 units. */
function gaps(tokens, text) {
  const characters = Array.from(text);
  return tokens.map(({ start }, index) => (index === 0 ? "" : characters.slice(tokens[index - 1].end, start).join("")));
}

function withSpans({ tokens, spans }, words, text, hueOf) {
  const between = gaps(tokens, text);
  const members = (first, end) =>
    words.slice(first, end).flatMap((word, index) => (index ? [between[first + index], word] : [word]));
  const parts = [];
  let next = 0;
  for (const span of spans) {
    parts.push(
      between[next],
      ...members(next, span.first_token),
      next < span.first_token ? between[span.first_token] : "",
    );
    parts.push(spanFor(span, members(span.first_token, span.end_token), hueOf(span.label)));
    next = span.end_token;
  }
  return [...parts, between[next] ?? "", ...members(next, words.length)];
}

function spanFor({ label, score }, words, hue) {
  const tag = el(
    "span",
    { class: "tag", "aria-hidden": "true" },
    label,
    " ",
    el("span", { class: "tag-score" }, percent(score)),
  );
  return el(
    "span",
    { class: "span", role: "group", "aria-label": `${label}, ${percent(score)}`, "--hue": hue },
    ...words,
    tag,
  );
}

function withTags({ tokens }, words, text, hueOf) {
  const between = gaps(tokens, text);
  return words.flatMap((word, index) => {
    const tag = el("span", { class: "tag", "aria-hidden": "true" }, tokens[index].tag);
    return [
      between[index],
      el("span", { class: "pair", role: "presentation", "--hue": hueOf(kindOf(tokens[index].tag)) }, word, tag),
    ];
  });
}

function table(tokens) {
  const head = el("tr", {}, ...["word", "tag", "score"].map((title) => el("th", { scope: "col" }, title)));
  const rows = tokens.map(({ text, tag, score }) =>
    el("tr", {}, el("th", { scope: "row" }, text), el("td", {}, tag), el("td", {}, percent(score))),
  );
  return el(
    "details",
    {},
    el("summary", {}, "As a table"),
    el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...rows)),
  );
}

export const tagging = predictionView({ verb: "Tag", show });
