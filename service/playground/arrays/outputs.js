/** Outputs of a model of named arrays: as numbers, as a table, and as a line over the steps. */

import { figure } from "../charts/plot.js";
import { el } from "../elements/dom.js";
import { formOf } from "./editor.js";
import { stepsChart } from "./steps_chart.js";

const MAX_ROWS = 200;

/**
 * @param {Object<string, unknown>} outputs nested lists by name
 * @param {object} model of `GET /models/{name}`
 * @returns {HTMLElement}
 */
export function outputsOf(outputs, model) {
  const forms = new Map((model.outputs ?? []).map((output) => [output.name, output]));
  const parts = Object.entries(outputs).map(([name, value]) => outputOf(name, value, forms.get(name), model));
  return el("div", { class: "arrays" }, ...parts);
}

function outputOf(name, value, form, { options }) {
  const about = [form ? formOf(form) : "", form?.description ?? ""].filter(Boolean).join(", ");
  const heading = el("h3", {}, el("code", {}, name), about ? ` ${about}` : "");
  const steps = form?.shape[0];
  const isOverTime = steps === "time" || (options?.fixed_length && steps === options.fixed_length);
  return el("section", { class: "array", "aria-label": name }, heading, contentOf(name, value, isOverTime));
}

function contentOf(name, value, isOverTime) {
  if (!Array.isArray(value)) return el("p", { class: "array-number" }, figure(value));
  if (Array.isArray(value[0]?.[0])) return el("pre", { class: "json", tabindex: 0 }, JSON.stringify(value));
  const rows = value.map((row) => [row].flat());
  return isOverTime ? overTime(name, rows) : tableOf(name, rows, "place");
}

/** Line of one column, with a selection if there are several; all of them in a table. */
function overTime(name, rows) {
  const place = el("div");
  const titleOf = (column) => (rows[0].length > 1 ? `${name}[${column}]` : name);
  const draw = (column) =>
    place.replaceChildren(stepsChart({ name: titleOf(column), values: rows.map((row) => row[column]) }));
  const choices = rows[0].map((_, column) => el("option", { value: column }, titleOf(column)));
  const select = el("select", { "aria-label": `Line of ${name}`, onchange: () => draw(Number(select.value)) }, ...choices);
  draw(0);
  const choice = el("p", { class: "drawn-channel", hidden: choices.length < 2 }, "Line of ", select);
  const table = el("details", {}, el("summary", {}, "As a table"), tableOf(name, rows, "step"));
  return el("div", {}, choice, place, table);
}

function tableOf(name, rows, unit) {
  const titles = [unit, ...rows[0].map((_, column) => `[${column}]`)];
  const head = el("tr", {}, ...titles.map((title) => el("th", { scope: "col" }, title)));
  const body = rows.slice(0, MAX_ROWS).map((row, at) => {
    const cells = row.map((value) => el("td", {}, figure(value)));
    return el("tr", {}, el("th", { scope: "row" }, unit === "step" ? at + 1 : at), ...cells);
  });
  const table = el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...body));
  const region = { class: "table-frame", tabindex: 0, role: "region", "aria-label": `Values of ${name}` };
  const more = rows.length > MAX_ROWS ? el("p", { class: "hint" }, `The first ${MAX_ROWS} of ${rows.length} rows.`) : null;
  return el("div", {}, el("div", region, table), more);
}
