/** Classification: bars for the most likely labels. */

import { el, percent } from "../elements/dom.js";
import { predictionView } from "./prediction.js";

const MAX_BARS = 10;

/** @param {object} model */
export function barFields(model) {
  const max = Math.min(model.labels?.length ?? MAX_BARS, MAX_BARS);
  return [{ name: "top_k", label: "Labels shown", kind: "slider", min: 1, max, value: Math.min(5, max) }];
}

/** @param {object} prediction @param {string} given description of the input */
export function bars(prediction, given) {
  const rows = (prediction.top_k ?? [prediction]).map(({ label, score }, index) => bar(label, score, index === 0));
  return el(
    "div",
    { class: "classified" },
    el("p", { class: "given-text" }, given),
    el("ol", { class: "bars" }, ...rows),
  );
}

function bar(label, score, isFirst) {
  const track = el(
    "span",
    { class: "bar-track", "aria-hidden": "true" },
    el("span", { class: "bar", "--share": score }),
  );
  return el(
    "li",
    { class: isFirst ? "bar-row is-first" : "bar-row" },
    el("span", { class: "bar-label" }, label),
    track,
    el("span", { class: "bar-score" }, percent(score)),
  );
}

export const classification = predictionView({ verb: "Classify", fields: barFields, show: bars });
