/** Readings of a live session: sound heard, latency of the answers, real-time factor. */

import { el, milliseconds } from "../elements/dom.js";

const NUM_KEPT = 1000;
/** Answers over which the real-time factor is taken. */
const NUM_RECENT = 20;

export class Readings {
  #delaysMs = [];
  #recent = [];
  #heardS = 0;

  constructor() {
    this.values = new Map(["sound", "latency", "p95", "real-time factor"].map((name) => [name, el("dd", {}, "–")]));
    const rows = [...this.values].map(([name, value]) => el("div", {}, el("dt", {}, name), value));
    this.element = el("dl", { class: "receipt-facts readings" }, ...rows);
  }

  /** @param {number} durationS of one more piece of sound */
  addSound(durationS) {
    this.#heardS += durationS;
    this.#set("sound", `${this.#heardS.toFixed(1)} s`);
  }

  get heardS() {
    return this.#heardS;
  }

  /**
   * One answer. The real-time factor is what the service says; else the delay over the sound, which is an upper bound.
   * @param {object} message
   * @param {number} delayMs from the sound to its answer
   * @param {number} durationS of the sound that it answers
   */
  addAnswer(message, delayMs, durationS) {
    this.#delaysMs.push(delayMs);
    if (this.#delaysMs.length > NUM_KEPT) this.#delaysMs.shift();
    this.#set("latency", milliseconds(delayMs));
    this.#set("p95", milliseconds(quantile(this.#delaysMs, 0.95)));
    const stated = message.real_time_factor;
    if (typeof stated === "number") this.#set("real-time factor", stated.toFixed(3));
    else if (durationS) this.#set("real-time factor", `≤ ${this.#factorOf(delayMs / 1000, durationS).toFixed(2)}`);
  }

  #factorOf(delayS, durationS) {
    this.#recent = [...this.#recent, [delayS, durationS]].slice(-NUM_RECENT);
    const [busyS, soundS] = [0, 1].map((part) => this.#recent.reduce((sum, pair) => sum + pair[part], 0));
    return busyS / soundS;
  }

  #set(name, text) {
    this.values.get(name).textContent = text;
  }
}

function quantile(values, share) {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)];
}
