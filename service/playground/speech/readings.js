/** Readings of a live session: sound heard, latency of the answers, real-time factor. */

import { el, milliseconds } from "../elements/dom.js";

const NUM_KEPT = 1000;

export class Readings {
  #delaysMs = [];
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
   * One answer. The real-time factor is that of the service, without the network.
   * @param {object} message
   * @param {number} delayMs from the sound to its answer
   */
  addAnswer(message, delayMs) {
    this.#delaysMs.push(delayMs);
    if (this.#delaysMs.length > NUM_KEPT) this.#delaysMs.shift();
    this.#set("latency", milliseconds(delayMs));
    this.#set("p95", milliseconds(quantile(this.#delaysMs, 0.95)));
    if (typeof message.real_time_factor === "number") this.#set("real-time factor", message.real_time_factor.toFixed(3));
  }

  #set(name, text) {
    this.values.get(name).textContent = text;
  }
}

function quantile(values, share) {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.min(Math.floor(share * sorted.length), sorted.length - 1)];
}
