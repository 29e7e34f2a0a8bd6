/** Receipt of an answer: time by stage, batch size, request id, and the request as a program. */

import { copyButton } from "../elements/copy.js";
import { el, milliseconds } from "../elements/dom.js";
import { addressOf } from "../requests/api.js";
import { attachmentOf, save } from "../requests/attachment.js";
import { LANGUAGES } from "../requests/snippets.js";

/**
 * @param {{path: string, body: object, requestId: string, stages?: [string, number][],
 *   facts?: [string, string][]}} exchange `stages` are names and milliseconds, in order
 * @returns {HTMLElement}
 */
export function receipt({ path, body, requestId, stages = [], facts = [] }) {
  const all = requestId ? [...facts, ["request id", requestId]] : facts;
  const list = el(
    "dl",
    { class: "receipt-facts" },
    ...all.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
  return el(
    "section",
    { class: "receipt", "aria-label": "About this answer" },
    stages.length ? stageBar(stages) : null,
    list,
    ...commandFor(path, body),
  );
}

function commandFor(path, body) {
  const attachment = attachmentOf(body);
  const snippets = snippetsOf({ address: addressOf(path), body, isStream: path === "generate_stream", attachment });
  if (!attachment) return [snippets];
  const { name } = attachment;
  const button = el("button", { type: "button", class: "quiet", onclick: () => save(attachment) }, `Save ${name}`);
  const hint = el("p", { class: "hint" }, `The program reads ${name} in the folder where it runs.`);
  return [snippets, el("div", { class: "actions" }, button, hint)];
}

/** Stages of the timings of `/predict`. The rest of the total is spent in the event loop and JSON. */
export function stagesOf(timings) {
  const stages = ["preprocess", "queue", "inference", "postprocess"].map((stage) => [stage, timings[`${stage}_ms`]]);
  const known = stages.reduce((sum, [, ms]) => sum + ms, 0);
  return [...stages, ["other", Math.max(timings.total_ms - known, 0)]];
}

const classOf = (stage) => `stage-${stage.replaceAll(" ", "-")}`;

function stageBar(stages) {
  const said = stages.map(([name, ms]) => `${name} ${milliseconds(ms)}`).join(", ");
  const bar = el(
    "div",
    { class: "stage-bar", role: "img", "aria-label": `Time: ${said}` },
    ...stages.map(([name, ms]) => el("span", { class: `stage ${classOf(name)}`, "--share": ms })),
  );
  const legend = el(
    "ul",
    { class: "stage-legend" },
    ...stages.map(([name, ms]) => el("li", { class: classOf(name) }, name, " ", el("b", {}, milliseconds(ms)))),
  );
  return el("div", { class: "stages" }, bar, legend);
}

/** The language chosen last, for the next answer. */
let language = LANGUAGES[0].name;

/**
 * The request in the chosen language, with buttons for the others.
 * @param {import("../requests/snippets.js").Exchange} exchange
 * @param {typeof LANGUAGES} [languages] other programs for the same exchange
 */
export function snippetsOf(exchange, languages = LANGUAGES) {
  const text = el("code");
  const block = el("pre", { class: "command", tabindex: 0, role: "region", "aria-label": "The request as a program" }, text);
  const choose = (chosen) => {
    language = chosen.name;
    text.textContent = chosen.of(exchange);
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(languages[index] === chosen)));
  };
  const buttons = languages.map((one) =>
    el("button", { type: "button", class: "quiet language", onclick: () => choose(one) }, one.name),
  );
  choose(languages.find(({ name }) => name === language) ?? languages[0]);
  const choices = el("div", { class: "languages", role: "group", "aria-label": "Language" }, ...buttons);
  return el("div", {}, choices, el("div", { class: "command-frame" }, block, copyButton(text, { className: "quiet copy" })));
}
