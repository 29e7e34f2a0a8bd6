/**
 * Dependency parsing: an arc diagram. Pointing at a word, or focusing it, shows its head and its dependents. Of a text of
 * several sentences one is drawn, which is chosen from a list.
 */

import { arcDiagram } from "../charts/arc_diagram.js";
import { copyButton } from "../elements/copy.js";
import { el, percent } from "../elements/dom.js";
import { save } from "../requests/attachment.js";
import { predictionView } from "./prediction.js";

const FILE_NAME = "sentence.conllu";

const MAX_BEGINNING = 60;

function show({ tokens, sentences, conllu }) {
  const parts = sentencesOf(tokens, sentences ?? []);
  const drawn = el("div", { class: "parsed-sentence" });
  const draw = (number) => drawn.replaceChildren(...sentenceOf(parts[number]));
  const choices = parts.map((part, number) => el("option", { value: number }, `${number + 1}. ${beginning(part)}`));
  const select = el("select", { "aria-label": "Sentence", onchange: () => draw(Number(select.value)) }, ...choices);
  const choice = el("p", { class: "sentence-choice", hidden: parts.length < 2 }, `One of ${parts.length} sentences `, select);
  draw(0);
  return el("div", { class: "parsed" }, choice, drawn, sentenceAs(conllu));
}

/** The words of each sentence, with heads that count within it. */
function sentencesOf(tokens, sentences) {
  if (sentences.length < 2) return [tokens];
  return sentences.map(({ first_token: first, num_tokens: size }) =>
    tokens.slice(first, first + size).map((token) => ({ ...token, head: token.head === null ? null : token.head - first })),
  );
}

function beginning(tokens) {
  const text = tokens.map((token) => token.text).join(" ");
  return text.length > MAX_BEGINNING ? `${text.slice(0, MAX_BEGINNING)}…` : text;
}

function sentenceOf(tokens) {
  const readout = el("p", { class: "readout", "aria-hidden": "true" }, "Point at a word, or move with the arrow keys.");
  const diagram = arcDiagram({
    tokens,
    nameOf: (word) => nameOf(tokens, word),
    onPoint: (word) => (readout.textContent = describe(tokens, word)),
  });
  const scroll = el("div", { class: "arcs-scroll" }, diagram);
  return [scroll, readout, table(tokens)];
}

/** Relation of a word and the word that it depends on. */
const dependency = (tokens, { head, relation }) => (head === null ? `${relation} of the sentence` : `${relation} of ${tokens[head].text}`);

const nameOf = (tokens, word) => `${tokens[word].text}, ${tokens[word].tag}, ${dependency(tokens, tokens[word])}`;

function describe(tokens, word) {
  const token = tokens[word];
  const features = token.features && token.features !== "_" ? [token.features.replaceAll("|", " ")] : [];
  const lemma = token.lemma === undefined ? [] : [`lemma ${token.lemma}`];
  const parts = [...lemma, `${token.tag} ${percent(token.score)}`, ...features, dependency(tokens, token)];
  return [token.text, ...parts, `head ${percent(token.head_score)}`].join(" · ");
}

function table(tokens) {
  const hasFeatures = tokens.some(({ features }) => features !== undefined);
  const hasLemmas = tokens.some(({ lemma }) => lemma !== undefined);
  const titles = ["", "word", ...(hasLemmas ? ["lemma"] : []), "tag", "relation", "head", "score of the head", ...(hasFeatures ? ["features"] : [])];
  const head = el("tr", {}, ...titles.map((title) => (title ? el("th", { scope: "col" }, title) : el("td"))));
  const rows = tokens.map((token, index) => {
    const headName = token.head === null ? "root" : `${token.head + 1} ${tokens[token.head].text}`;
    const cells = [token.tag, token.relation, headName, percent(token.head_score)];
    if (hasLemmas) cells.unshift(token.lemma ?? "");
    if (hasFeatures) cells.push(token.features ?? "");
    const word = el("th", { scope: "row" }, token.text);
    return el("tr", {}, el("td", {}, String(index + 1)), word, ...cells.map((cell) => el("td", {}, cell)));
  });
  const grid = el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...rows));
  const scroll = el("div", { class: "arcs-scroll", tabindex: 0, role: "region", "aria-label": "Table of words" }, grid);
  return el("details", {}, el("summary", {}, "As a table"), scroll);
}

/** CoNLL-U, to be copied or saved. */
function sentenceAs(conllu) {
  const text = el("pre", { class: "conllu", tabindex: 0, role: "region", "aria-label": "CoNLL-U" }, el("code", {}, conllu));
  const saveButton = el(
    "button",
    { type: "button", class: "quiet", onclick: () => save({ name: FILE_NAME, content: conllu }) },
    "Save as a file",
  );
  const buttons = el("p", { class: "conllu-buttons" }, copyButton(text, { textOf: () => conllu }), saveButton);
  return el("details", {}, el("summary", {}, "As CoNLL-U"), buttons, text);
}

export const parsing = predictionView({ verb: "Parse", fixed: { conllu: true }, show });
