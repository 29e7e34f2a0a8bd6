/** Where one model is tried: a form above, answers below, and one request at a time between them. */

import { Refused } from "./api.js";
import { el } from "./dom.js";
import { fieldSet } from "./fields.js";
import { receipt } from "./receipt.js";
import { clearRefusal, markControl, showRefusal } from "./refusal.js";

const MAX_EXAMPLES = 5;
const MAX_CHIP_CHARACTERS = 120;

/**
 * How one kind of task is asked and answered: one file in `views/` for each, listed in `views/catalogue.js`.
 * @typedef {object} View
 * @property {string} path of the API
 * @property {string} label of the input
 * @property {string} hint under the input
 * @property {string} verb on the button
 * @property {(model: object) => import("./fields.js").Field[]} fields
 * @property {(text: string, values: Object<string, number>) => object} body of the request, without the model
 * @property {(inputs: unknown) => string} textOf an example, as it would be typed
 * @property {(job: Job) => Promise<string>} run asks, shows the answer, and says in a sentence what came
 *
 * @typedef {object} Job
 * @property {object} model of `GET /models/{name}`
 * @property {object} body
 * @property {HTMLElement} place for the answer
 * @property {AbortSignal} signal
 * @property {(work: (signal: AbortSignal) => Promise<string>) => void} start further work that belongs to the answer
 */

/**
 * @param {HTMLElement} root
 * @param {object} model
 * @param {View} view
 * @returns {{close: () => void}} `close` abandons what runs
 */
export const openWorkbench = (root, model, view) => new Workbench(root, model, view);

class Workbench {
  constructor(root, model, view) {
    this.model = model;
    this.view = view;
    this.running = null;
    this.closed = new AbortController();
    this.fields = fieldSet(view.fields(model));
    this.input = inputOf(model, view);
    this.run = el("button", { type: "submit", class: "run" }, view.verb);
    this.stop = el("button", { type: "button", class: "stop", disabled: true, onclick: () => this.abort() }, "Stop");
    this.status = el("p", { class: "status", role: "status" });
    this.place = el("section", { class: "answers", "aria-label": "Answer" });
    this.form = this.#form();
    root.replaceChildren(heading(model), this.form, this.place);
    document.addEventListener("keydown", (event) => this.#onKey(event), { signal: this.closed.signal });
  }

  close() {
    this.abort();
    this.closed.abort();
  }

  abort() {
    this.running?.abort();
  }

  /** Send what the form holds. */
  ask() {
    clearRefusal(this.form);
    const body = this.#body();
    if (!body) return;
    const start = (work) => this.#start(work, body, true);
    const { model, view, place } = this;
    this.#start((signal) => view.run({ model, body, place, signal, start }), body, false);
  }

  /** One work at a time. What it has shown stays when it fails; with `goesOn`, what stood there before does, too. */
  async #start(work, body, goesOn) {
    this.abort();
    const mine = (this.running = new AbortController());
    const before = this.place.firstElementChild;
    this.place.querySelectorAll(":scope > .alert").forEach((alert) => alert.remove());
    this.#setBusy(true);
    try {
      this.status.textContent = await work(mine.signal);
    } catch (error) {
      if (this.running === mine) this.#tell(error, body, goesOn || this.place.firstElementChild !== before);
    }
    if (this.running === mine) this.#setBusy(false);
  }

  #setBusy(isBusy) {
    if (!isBusy && document.activeElement === this.stop) this.run.focus();
    this.stop.disabled = !isBusy;
    this.place.setAttribute("aria-busy", String(isBusy));
    if (isBusy) this.status.textContent = "Working …";
  }

  #tell(error, body, keeps) {
    this.status.textContent = error.name === "AbortError" ? "Stopped." : "";
    if (error.name === "AbortError") return;
    const alert = showRefusal(error, (field) => this.#controlOf(field));
    const isAnswer = error instanceof Refused;
    const about = isAnswer ? receipt({ path: this.view.path, body, requestId: error.requestId }) : null;
    if (!keeps) this.place.replaceChildren();
    this.place.prepend(...[alert, keeps ? null : about].filter(Boolean));
  }

  /** The views check nothing but whether what was typed can be sent at all. */
  #body() {
    try {
      const { name, version } = this.model;
      return { model: name, version, ...this.view.body(this.input.value, this.fields.values()) };
    } catch (error) {
      markControl(this.input, error.message);
      return null;
    }
  }

  #controlOf(field) {
    return field.startsWith("inputs") ? this.input : this.fields.control(field.replace(/^parameters\./, ""));
  }

  #onKey(event) {
    if (event.key === "Escape") this.abort();
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.ask();
  }

  #form() {
    const keys = el("span", { class: "keys" }, "Ctrl + Enter runs, Esc stops");
    const submit = (event) => {
      event.preventDefault();
      this.ask();
    };
    return el(
      "form",
      { class: "ask", "aria-label": "Request", novalidate: true, onsubmit: submit },
      examplesOf(this.model, this.view, (example) => (this.input.value = example)),
      inputField(this.view, this.input),
      this.fields.element,
      el("div", { class: "actions" }, this.run, this.stop, keys, this.status),
    );
  }
}

function heading(model) {
  const facts = [model.task, `version ${model.version}`].filter(Boolean).join(" · ");
  const trouble = model.state === "ready" ? null : el("p", { class: "alert", role: "alert" }, troubleOf(model));
  const description = el("p", { class: "description" }, ...withCode(model.description ?? ""));
  return el(
    "header",
    { class: "work-heading" },
    el("p", { class: "eyebrow" }, facts),
    el("h2", {}, model.name),
    description,
    trouble,
  );
}

/** What stands in backticks is set as code. */
const withCode = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));

function troubleOf({ name, state, reason }) {
  return state === "failed" ? `${name} could not be loaded: ${reason}` : `${name} is still loading.`;
}

function inputOf(model, view) {
  const input = el("textarea", {
    id: "input",
    rows: 3,
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": "input-hint",
  });
  input.value = model.examples?.length ? view.textOf(model.examples[0].inputs) : "";
  return input;
}

function inputField(view, input) {
  const label = el("label", { for: input.id }, view.label);
  return el(
    "div",
    { class: "field input-field", "data-field": "inputs" },
    label,
    input,
    el("p", { class: "hint", id: "input-hint" }, view.hint),
  );
}

/** The label of an example. Numbers would fill the page. */
function shortened(text) {
  return text.length > MAX_CHIP_CHARACTERS ? `${text.slice(0, MAX_CHIP_CHARACTERS)} …` : text;
}

function examplesOf(model, view, choose) {
  const texts = [
    ...new Set((model.examples ?? []).map(({ inputs }) => view.textOf(inputs)).filter((text) => text.trim())),
  ];
  const chips = texts
    .slice(0, MAX_EXAMPLES)
    .map((text) => el("button", { type: "button", class: "example", onclick: () => choose(text) }, shortened(text.trim())));
  return el("div", { class: "examples", role: "group", "aria-label": "Examples", hidden: !chips.length }, ...chips);
}
