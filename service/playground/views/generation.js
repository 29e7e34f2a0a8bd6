/** Generation: the text as it is written, and the state from which it can go on. */

import { textEditor } from "../editors/text.js";
import { el, milliseconds } from "../elements/dom.js";
import { generate } from "../requests/api.js";
import { receipt } from "../workbench/receipt.js";

const PATH = "generate_stream";
const MAX_SEED = 2 ** 31;
const DEFAULT_TOKENS = 300;
const NEAR_THE_END_PX = 40;
/** At most so many tokens, less one, are computed again when a text goes on that was stopped. */
const STATE_EVERY_TOKENS = 16;

const ENDINGS = {
  length: "as many tokens as were asked for",
  eos_token: "the text came to its end",
  stop_sequence: "a stop text appeared",
};

const SLIDERS = [
  {
    name: "temperature",
    label: "Temperature",
    hint: "below 1 is more predictable, above 1 more random",
    min: 0,
    max: 2,
    step: 0.05,
    value: 0.7,
    off: 0,
    offText: "0, greedy",
  },
  {
    name: "top_p",
    label: "Top p",
    hint: "only the likeliest that add up to this",
    min: 0.05,
    max: 1,
    step: 0.05,
    value: 0.95,
    off: 1,
  },
  { name: "top_k", label: "Top k", hint: "only so many of the likeliest", min: 0, max: 100, value: 0, off: 0 },
].map((field) => ({ kind: "slider", ...field }));

const SEED = { name: "seed", label: "Seed", hint: "same seed, same text", min: 0, max: MAX_SEED };

function fields(model) {
  const max = model.limits?.max_new_tokens ?? DEFAULT_TOKENS;
  const length = { name: "max_new_tokens", label: "Tokens", hint: `at most ${max}`, min: 1, max };
  return [
    ...SLIDERS,
    { kind: "number", ...length, value: Math.min(DEFAULT_TOKENS, max) },
    { kind: "number", ...SEED, value: "", placeholder: "random" },
  ];
}

const textOf = (events) => events.map(({ token }) => (token.special ? "" : token.text)).join("");

/** Without a seed the page draws one, so that the command beside the text gives this very text again. */
function body(text, { temperature, top_p, top_k, seed, max_new_tokens }) {
  const drawn = seed ?? Math.floor(Math.random() * MAX_SEED);
  const sampling = temperature === undefined ? {} : { do_sample: true, temperature, top_p, top_k, seed: drawn };
  return { inputs: text, parameters: { max_new_tokens, ...sampling, details: true }, return_state: true };
}

function run({ body, place, signal, start }) {
  const script = new Script(body, start);
  return script.write({ body, numKnown: 0 }, signal, () => place.replaceChildren(script.element));
}

/**
 * Where a text can go on: a request, and how many tokens of its answer the reader has already.
 * @typedef {{body: object, numKnown: number}} Place
 */

/** One text, written in one request or in several that go on from each other. */
class Script {
  constructor({ inputs, parameters }, start) {
    this.start = start;
    this.maxNewTokens = parameters.max_new_tokens;
    this.text = el("span", { class: "written" });
    this.footer = el("div");
    const cursor = el("span", { class: "cursor", "aria-hidden": "true" });
    const parts = [el("span", { class: "prompt" }, inputs), this.text, cursor];
    this.paper = el("div", { class: "script", tabindex: 0, role: "region", "aria-label": "Text" }, ...parts);
    this.element = el("article", { class: "answer", "aria-label": "Answer" }, this.paper, this.footer);
  }

  /**
   * Ask, and add tokens as they come.
   * @param {Place} place
   * @param {AbortSignal} signal
   * @param {() => void} onAccepted before the first token
   * @returns {Promise<string>} what came, in a sentence
   */
  async write(place, signal, onAccepted = () => {}) {
    const { body } = place;
    const meter = new Meter();
    const { events, requestId } = await generate({ ...body, state_every: STATE_EVERY_TOKENS }, signal);
    onAccepted();
    this.footer.replaceChildren();
    this.element.classList.add("is-writing");
    const reader = new Reader(place);
    try {
      await this.follow(events, reader, meter);
      const about = receipt({ path: PATH, body, requestId, ...meter.measured(reader.last) });
      this.footer.replaceChildren(...this.ending(body, reader.last, meter), about);
      return `${meter.numTokens} tokens in ${milliseconds(meter.totalMs)}.`;
    } catch (error) {
      this.footer.replaceChildren(this.goingOn(reader.place, brokenOff(error, meter.numTokens)));
      throw error;
    } finally {
      this.element.classList.remove("is-writing");
    }
  }

  async follow(batches, reader, meter) {
    for await (const events of batches) {
      const fresh = reader.freshOf(events);
      if (fresh.length) meter.count(fresh.length);
      this.add(textOf(fresh));
    }
  }

  /** Who has scrolled up to read on is left there; who stands at the end is kept there. */
  add(text) {
    const { scrollTop, clientHeight, scrollHeight } = this.paper;
    this.text.append(text);
    if (scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX) this.paper.scrollTop = this.paper.scrollHeight;
  }

  ending(body, last, meter) {
    const reason = ENDINGS[last?.details?.finish_reason] ?? "the stream ended";
    const said = `${meter.numTokens} tokens: ${reason}.`;
    if (!last?.state) return [el("p", { class: "note" }, said)];
    const next = goingOnFrom(body, last.state, this.maxNewTokens);
    return [this.goingOn({ body: next, numKnown: 0 }, said)];
  }

  /** The state holds all that was read and drawn: what follows is what an unbroken text would have had. */
  goingOn(place, said) {
    const go = () => this.start((signal) => this.write(place, signal));
    const button = el("button", { type: "button", class: "continue", onclick: go }, "Continue");
    return el("div", { class: "actions" }, button, el("p", { class: "note" }, said));
  }
}

const goingOnFrom = (body, state, max_new_tokens) => ({
  ...body,
  inputs: "",
  state,
  parameters: { ...body.parameters, max_new_tokens },
});

const brokenOff = (error, numTokens) =>
  `${error.name === "AbortError" ? "Stopped" : "Broken off"} after ${numTokens} tokens.`;

/** Reads the events of one request, and knows where the text goes on should no more of them come. */
class Reader {
  #begun;
  #numRead = 0;

  /** @param {Place} place */
  constructor({ body, numKnown }) {
    this.#begun = { body, index: 0 };
    this.numKnown = numKnown;
    this.last = null;
  }

  /** Those whose tokens the reader of the text does not have yet. */
  freshOf(events) {
    for (const event of events) {
      this.#numRead = event.index;
      if (event.tokens_left) this.#begun = { body: this.#after(event), index: event.index };
    }
    this.last = events.at(-1) ?? this.last;
    return events.filter(({ index }) => index > this.numKnown);
  }

  #after({ state, tokens_left }) {
    return goingOnFrom(this.#begun.body, state, tokens_left);
  }

  /** Tokens after the newest state are computed again, the same ones: the seed is in the state, or in the request. */
  get place() {
    const { body, index } = this.#begun;
    return { body, numKnown: Math.max(this.numKnown, this.#numRead) - index };
  }
}

/** Times as the reader of the stream sees them. */
class Meter {
  constructor() {
    this.numTokens = 0;
    this.beganMs = this.firstMs = this.lastMs = performance.now();
  }

  count(numTokens) {
    this.lastMs = performance.now();
    if (this.numTokens === 0) this.firstMs = this.lastMs;
    this.numTokens += numTokens;
  }

  get totalMs() {
    return this.lastMs - this.beganMs;
  }

  measured(last) {
    const restMs = this.lastMs - this.firstMs;
    const rate = `${Math.round((this.numTokens / this.totalMs) * 1000)} tokens/s`;
    const seed = last?.details?.seed ?? null;
    const facts = [
      ["speed", rate],
      ["time to first token", milliseconds(this.firstMs - this.beganMs)],
      ["prompt", `${last?.details?.input_length ?? 0} tokens`],
    ];
    const stages = [
      ["first token", this.firstMs - this.beganMs],
      ["further tokens", restMs],
    ];
    return { stages, facts: seed === null ? facts : [...facts, ["seed", String(seed)]] };
  }
}

/** @type {import("../workbench/workbench.js").View} */
export const generation = {
  path: PATH,
  verb: "Write",
  editor: () =>
    textEditor({ label: "Prompt", hint: "The text goes on from here.", textOf: String, read: (text) => text }),
  nameOf: String,
  fields,
  body,
  run,
};
