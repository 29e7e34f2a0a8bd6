/** Workbench of a model: a form, its answer, and at most one request at a time. */

import { el } from "../elements/dom.js";
import { Refused } from "../requests/api.js";
import { examplesOf } from "./examples.js";
import { fieldSet } from "./fields.js";
import { receipt } from "./receipt.js";
import { clearRefusal, markControl, showRefusal } from "./refusal.js";

/**
 * View of a task: how to request and show its answers. One file per task in `views/`, listed in `views/catalogue.js`.
 * @typedef {object} View
 * @property {string} path of the API
 * @property {string} verb on the button
 * @property {(model: object) => import("../editors/text.js").Editor} editor for the input
 * @property {(inputs: unknown, index: number, answer: object|null) => string} nameOf an example
 * @property {(inputs: unknown, model: object) => Element} [thumbnailOf] an example that is no text
 * @property {(model: object) => import("./fields.js").Field[]} fields
 * @property {(inputs: unknown, values: Object<string, number>) => object} body of the request, without the model
 * @property {(job: Job) => Promise<string>} run sends the request, shows the answer and returns a sentence about it
 * @property {(desk: Desk) => Live} [live] a part of the form that answers while the input arrives
 *
 * @typedef {object} Job
 * @property {object} model of `GET /models/{name}`
 * @property {object} body
 * @property {HTMLElement} place for the answer
 * @property {AbortSignal} signal
 * @property {(work: (signal: AbortSignal) => Promise<string>) => void} start further requests for the same answer
 *
 * What a live part may use. One answer is shown at a time: `begin` ends the others.
 * @typedef {object} Desk
 * @property {object} model
 * @property {HTMLElement} place for the answer
 * @property {() => object} start model, version and parameters, as they are set
 * @property {() => void} begin
 * @property {(bytes: Uint8Array, name: string) => void} keep an input for the editor
 *
 * @typedef {{element: HTMLElement, stop: () => void, cancel: () => void, close: () => void}} Live
 */

/**
 * @param {HTMLElement} root
 * @param {object} model
 * @param {View} view
 * @returns {{close: () => void}} `close` aborts the current request
 */
export const openWorkbench = (root, model, view) => new Workbench(root, model, view);

class Workbench {
  constructor(root, model, view) {
    this.model = model;
    this.view = view;
    this.running = null;
    this.closed = new AbortController();
    this.fields = fieldSet(view.fields(model));
    this.editor = view.editor(model);
    this.run = el("button", { type: "submit", class: "run" }, view.verb);
    this.stop = el("button", { type: "button", class: "stop", disabled: true, onclick: () => this.abort() }, "Stop");
    this.status = el("p", { class: "status", role: "status" });
    this.place = el("section", { class: "answers", "aria-label": "Answer", "aria-busy": "false" });
    this.live = view.live?.(this.#desk()) ?? null;
    this.form = this.#form();
    root.replaceChildren(heading(model), this.form, this.place);
    document.addEventListener("keydown", (event) => this.#onKey(event), { signal: this.closed.signal });
    if (model.examples?.length) this.#showExample(model.examples[0].inputs);
  }

  close() {
    this.abort();
    this.live?.close();
    this.closed.abort();
    this.editor.close();
  }

  abort() {
    this.running?.abort();
  }

  /** Send the form. */
  async ask() {
    clearRefusal(this.form);
    this.abort();
    this.live?.cancel();
    this.#setBusy(true);
    const body = await this.#body();
    if (!body) this.#setBusy(false, "");
    if (!body || this.closed.signal.aborted) return;
    const start = (work) => this.#start(work, body, true);
    const { model, view, place } = this;
    this.#start((signal) => view.run({ model, body, place, signal, start }), body, false);
  }

  /** Run one request at a time. A failed one keeps what it has shown; with `goesOn`, what was there before, too. */
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

  /** Fill in an example and, if the model is ready, answer it. */
  #showExample(inputs) {
    this.editor.show(inputs);
    if (this.model.state === "ready") this.ask();
  }

  #setBusy(isBusy, said = isBusy ? "Running …" : null) {
    if (!isBusy && document.activeElement === this.stop) this.run.focus();
    this.stop.disabled = !isBusy;
    this.place.setAttribute("aria-busy", String(isBusy));
    if (said !== null) this.status.textContent = said;
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

  /** Views only check whether the input can be sent at all; the service validates it. */
  async #body() {
    try {
      const { name, version } = this.model;
      return { model: name, version, ...this.view.body(await this.editor.value(), this.fields.values()) };
    } catch (error) {
      markControl(this.editor.control, error.message);
      return null;
    }
  }

  #desk() {
    const { model, place } = this;
    return {
      model,
      place,
      start: () => ({ model: model.name, version: model.version, parameters: this.fields.values() }),
      begin: () => {
        clearRefusal(this.form);
        this.abort();
        this.running = null; // it has nothing more to tell
        this.#setBusy(false, "");
      },
      keep: (bytes, name) => this.editor.take(bytes, name),
    };
  }

  #controlOf(field) {
    return field.startsWith("inputs") ? this.editor.control : this.fields.control(field.replace(/^parameters\./, ""));
  }

  #onKey(event) {
    if (event.key === "Escape") {
      this.abort();
      this.live?.stop();
    }
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
      examplesOf(this.model, this.view, (inputs) => this.#showExample(inputs)),
      ...(this.live ? [this.live.element] : []),
      this.editor.element,
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

/** Text with the parts in backticks as code. */
const withCode = (text) => text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));

function troubleOf({ name, state, reason }) {
  return state === "failed" ? `${name} could not be loaded: ${reason}` : `${name} is still loading.`;
}
