/** Facts about a model: scores, training data, licence, limits, provider and model card. */

import { el } from "../elements/dom.js";
import { getText } from "../requests/api.js";

/**
 * @param {HTMLElement} section
 * @param {object} model of `GET /models/{name}`
 */
export function showFacts(section, model) {
  const heading = section.querySelector("h2");
  const rows = factsOf(model).filter(([, value]) => value);
  const list = el("dl", {}, ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  section.replaceChildren(heading, scoreTable(model.scores ?? []), list, card(model));
  section.hidden = false;
}

function factsOf(model) {
  const data = model.training?.data ?? [];
  return [
    ["data", data.map((set) => set.name).join(", ")],
    ["licence", model.licence],
    ["language", model.language],
    ["labels", model.labels?.length ? String(model.labels.length) : ""],
    ["max. input", longestInputOf(model)],
    ["runs on", [model.provider?.replace("ExecutionProvider", ""), model.precision].filter(Boolean).join(", ")],
    ["parity", model.parity ? `max. difference ${model.parity.max_difference.toExponential(0)} from the original` : ""],
    ["sha256", model.digest?.slice(0, 16)],
  ];
}

/** Pictures have no length limit; sounds are measured in seconds, other signals counted in steps. */
function longestInputOf({ task, limits, options }) {
  if (!limits || task === "captioning") return "";
  if (task === "video") return `${options.max_frames} frames, spread evenly`;
  const { samples_per_step: perStep, sample_rate_hz: rateHz } = options?.signal ?? {};
  if (perStep && rateHz) return `${((limits.max_input_tokens * perStep) / rateHz).toFixed(1)} s of sound`;
  const isNumeric = ["forecasting", "tensors"].includes(task) || options?.signal;
  return `${limits.max_input_tokens} ${isNumeric ? "steps" : "tokens"}`;
}

function scoreTable(scores) {
  if (!scores.length) return "";
  const head = el("tr", {}, ...["measure", "model", "baseline"].map((title) => el("th", { scope: "col" }, title)));
  const rows = scores.map(scoreRow);
  const caption = el("caption", {}, `Score on ${scores[0].split}`);
  return el("table", { class: "scores" }, caption, el("thead", {}, head), el("tbody", {}, ...rows));
}

function scoreRow({ measure, value, baseline, baseline_name }) {
  const digits = Math.max(value, baseline ?? 0) < 10 ? 3 : 1;
  const name = el("th", { scope: "row" }, measure.replaceAll("_", " "));
  return el(
    "tr",
    {},
    name,
    el("td", {}, figure(value, digits)),
    el("td", { title: baseline_name }, figure(baseline, digits)),
  );
}

/** Scores are percentages, or small numbers such as a loss, which get more digits. */
const figure = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "–");

/** The model card, fetched as HTML when it is opened first. */
function card({ name, version, card: text }) {
  if (!text) return "";
  const place = el("div", { class: "card-text", tabindex: 0, role: "region", "aria-label": "Model card" });
  const path = `playground-card/${encodeURIComponent(name)}?version=${encodeURIComponent(version)}`;
  const open = async () => {
    if (!details.open || place.childNodes.length) return;
    place.append("Loading …");
    place.replaceChildren(...(await renderedCard(path, text)));
  };
  const details = el("details", { class: "card", ontoggle: open }, el("summary", {}, "Model card"), place);
  return details;
}

/** The service renders the card, with markup in it as text. Without an answer, the card is shown as it is written. */
async function renderedCard(path, text) {
  try {
    return new DOMParser().parseFromString(await getText(path), "text/html").body.childNodes;
  } catch {
    return [el("pre", {}, text)];
  }
}
