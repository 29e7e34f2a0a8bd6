/** A transcript that grows: finished utterances with their times, and the one under way in a lighter tone. */

import { el, percent } from "../elements/dom.js";

/**
 * Answer of a model for `transcription`. Times are places in the whole sound.
 * @typedef {{text: string, confidence: number|null, start_s: number, end_s: number, is_final: boolean,
 *   words?: Word[], keywords?: {keyword: string, time_s: number, confidence: number}[]}} Heard
 * @typedef {{word: string, start_s: number, end_s: number, confidence: number|null}} Word
 */

export class Transcript {
  #texts = [];
  #partialText = "";

  constructor() {
    this.list = el("ol", { class: "utterances" });
    // Finished utterances are read out; the one under way changes too often for that.
    const log = el("div", { role: "log", "aria-live": "polite", "aria-label": "Finished utterances" }, this.list);
    this.partial = el("p", { class: "utterance is-partial", "aria-live": "off", hidden: true });
    this.notice = el("p", { class: "transcript-notice" });
    this.element = el("div", { class: "transcript" }, log, this.partial, this.notice);
  }

  /** @param {Heard[]} heard finished utterances, then the one under way, if there is one */
  show(heard) {
    if (!heard.length) return;
    for (const utterance of heard.filter(({ is_final, text }) => is_final && text)) this.#settle(utterance);
    this.#showPartial(heard.find(({ is_final }) => !is_final) ?? null);
  }

  /** What takes the place of the text while there is none. @param {string} sentence */
  say(sentence) {
    this.notice.textContent = sentence;
    this.notice.hidden = !sentence;
  }

  /** No more comes. What is still under way stays. */
  end() {
    if (this.#partialText) this.#settle({ text: this.#partialText, start_s: this.partialStartS, confidence: null });
    this.#showPartial(null);
  }

  get text() {
    return [...this.#texts, this.#partialText].filter(Boolean).join("\n");
  }

  #settle({ text, start_s, confidence }) {
    this.#texts.push(text);
    const sure = typeof confidence === "number" ? el("span", { class: "utterance-sure" }, percent(confidence)) : null;
    this.list.append(
      el("li", { class: "utterance" }, el("span", { class: "utterance-time" }, clock(start_s)), el("span", {}, text), sure),
    );
  }

  #showPartial(heard) {
    this.#partialText = heard?.text ?? "";
    this.partialStartS = heard?.start_s ?? 0;
    this.partial.hidden = !this.#partialText;
    this.partial.replaceChildren(
      el("span", { class: "utterance-time" }, clock(this.partialStartS)),
      el("span", {}, this.#partialText),
    );
  }
}

/** Seconds as minutes and seconds. @param {number|null} seconds */
export function clock(seconds) {
  if (typeof seconds !== "number") return ""; // a model of frames without a rate knows no times
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
