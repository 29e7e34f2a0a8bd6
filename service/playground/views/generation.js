/** Generation: the text as it is written, and the state from which it can go on. */

import { generate } from "../api.js";
import { el, milliseconds } from "../dom.js";
import { receipt } from "../receipt.js";

const PATH = "generate_stream";
const MAX_SEED = 2 ** 31;
const DEFAULT_TOKENS = 300;
const NEAR_THE_END_PX = 40;

const ENDINGS = {
  length: "as many tokens as were asked for",
  eos_token: "the text came to its end",
  stop_sequence: "a stop text appeared",
};

const SLIDERS = [
  {
    name: "temperature",
    label: "Temperature",
    hint: "below 1 is bolder, above is wilder",
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
  const script = new Script(body.inputs, start);
  return script.write(body, signal, () => place.replaceChildren(script.element));
}

/** One text, written in one request or in several that go on from each other. */
class Script {
  constructor(prompt, start) {
    this.start = start;
    this.text = el("span", { class: "written" });
    this.footer = el("div");
    const cursor = el("span", { class: "cursor", "aria-hidden": "true" });
    const parts = [el("span", { class: "prompt" }, prompt), this.text, cursor];
    this.paper = el("div", { class: "script", tabindex: 0, role: "region", "aria-label": "Text" }, ...parts);
    this.element = el("article", { class: "answer", "aria-label": "Answer" }, this.paper, this.footer);
  }

  /**
   * Ask, and add tokens as they come.
   * @param {object} body
   * @param {AbortSignal} signal
   * @param {() => void} onAccepted before the first token
   * @returns {Promise<string>} what came, in a sentence
   */
  async write(body, signal, onAccepted = () => {}) {
    const meter = new Meter();
    const { events, requestId } = await generate(body, signal);
    onAccepted();
    this.footer.replaceChildren();
    this.element.classList.add("is-writing");
    try {
      const last = await this.follow(events, meter);
      const about = receipt({ path: PATH, body, requestId, ...meter.measured(last) });
      this.footer.replaceChildren(...this.ending(body, last, meter), about);
      return `${meter.numTokens} tokens in ${milliseconds(meter.totalMs)}.`;
    } catch (error) {
      this.footer.replaceChildren(el("p", { class: "note" }, brokenOff(meter.numTokens)));
      throw error;
    } finally {
      this.element.classList.remove("is-writing");
    }
  }

  async follow(batches, meter) {
    let last = null;
    for await (const events of batches) {
      meter.count(events.length);
      this.add(textOf(events));
      last = events.at(-1) ?? last;
    }
    return last;
  }

  /** Who has scrolled up to read on is left there; who stands at the end is kept there. */
  add(text) {
    const { scrollTop, clientHeight, scrollHeight } = this.paper;
    this.text.append(text);
    if (scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX) this.paper.scrollTop = this.paper.scrollHeight;
  }

  ending(body, last, meter) {
    const reason = ENDINGS[last?.details?.finish_reason] ?? "the stream ended";
    const note = el("p", { class: "note" }, `${meter.numTokens} tokens: ${reason}.`);
    return last?.state ? [el("div", { class: "actions" }, this.continueButton(body, last.state), note)] : [note];
  }

  /** The state holds all that was read and drawn: what follows is what an unbroken text would have had. */
  continueButton(body, state) {
    const next = { ...body, inputs: "", state };
    return el(
      "button",
      { type: "button", class: "continue", onclick: () => this.start((signal) => this.write(next, signal)) },
      "Continue",
    );
  }
}

const brokenOff = (numTokens) => `Broken off after ${numTokens} tokens. A state comes only at the end of a text.`;

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

/** @type {import("../workbench.js").View} */
export const generation = {
  path: PATH,
  label: "Prompt",
  hint: "The text goes on from here.",
  verb: "Write",
  fields,
  textOf: (inputs) => String(inputs),
  body,
  run,
};
