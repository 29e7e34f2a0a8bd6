/** List of models by task. Each is a link with its own address, so that the Back button works. */

import { el } from "../elements/dom.js";
import { roveFocus } from "../elements/roving_focus.js";

const NO_TASK = "not loaded";
/** A filter is shown for more models than this. */
const MAX_WITHOUT_FILTER = 8;

/** Address of a model's page. The default version has the plain name. */
export function hashOf({ name, version, is_default }) {
  return `#${encodeURIComponent(name)}${is_default ? "" : `/${encodeURIComponent(version)}`}`;
}

/**
 * @param {HTMLElement} nav
 * @param {object[]} models of `GET /models`
 * @param {object|undefined} chosen one of them
 */
export function showModelList(nav, models, chosen) {
  const content = JSON.stringify([models, chosen]);
  if (nav.dataset.content === content) return;
  nav.dataset.content = content;
  const hadFocus = nav.contains(document.activeElement);
  const tasks = [...new Set(models.map(taskOf))].sort();
  const groups = tasks.map((task) =>
    group(
      task,
      models.filter((model) => taskOf(model) === task),
      chosen,
    ),
  );
  const frame = el("div", { class: "model-groups" }, ...groups);
  const filter = models.length > MAX_WITHOUT_FILTER ? filterFor(frame, nav.querySelector("input")) : null;
  nav.replaceChildren(...[filter, frame].filter(Boolean));
  roveFocus(frame, () => [...frame.querySelectorAll("li:not([hidden]) a")]);
  const current = frame.querySelector("[aria-current]");
  if (!current) return;
  frame.scrollLeft = current.offsetLeft - frame.clientWidth / 2; // where the list is a strip
  if (hadFocus) current.focus();
}

const taskOf = (model) => model.task ?? NO_TASK;

/** Field that hides the models whose name and task do not contain its text. `before` is the field that it replaces. */
function filterFor(frame, before) {
  const input = before ?? el("input", { type: "search", class: "model-filter", placeholder: "Filter", "aria-label": "Filter models" });
  const apply = () => {
    const wanted = input.value.trim().toLowerCase();
    for (const section of frame.children) {
      const items = [...section.querySelectorAll("li")];
      items.forEach((item) => (item.hidden = !item.dataset.words.includes(wanted)));
      section.hidden = items.every((item) => item.hidden);
    }
  };
  input.oninput = apply;
  apply();
  return input;
}

function group(task, models, chosen) {
  const id = `task-${task.replaceAll(/\W/g, "-")}`;
  const items = models.map((model) => el("li", { "data-words": `${model.name} ${task}`.toLowerCase() }, link(model, chosen)));
  return el("section", { class: "model-group", "aria-labelledby": id }, el("h2", { id }, task), el("ul", {}, ...items));
}

function link(model, chosen) {
  const isChosen = model === chosen;
  const attributes = { href: hashOf(model), "aria-current": isChosen ? "page" : null, tabindex: isChosen ? 0 : -1 };
  const version = model.is_default ? null : el("span", { class: "version" }, `version ${model.version}`);
  const state = model.state === "ready" ? null : el("span", { class: `state state-${model.state}` }, model.state);
  return el("a", attributes, model.name, version, state);
}
