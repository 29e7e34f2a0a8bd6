/** Timeline of a sound: its waveform, and below it each word at its time, with its confidence. */

import { envelopeOf } from "../editors/wave.js";
import { el, percent, svg } from "../elements/dom.js";
import { clock } from "./transcript.js";

const HEIGHT = 40;
/** Lines of the waveform for each second. */
const LINES_PER_S = 40;
/** Older words and sound are taken away, so that a page that listens for hours does not grow. */
const MAX_S = 600;
const UNSURE = 0.6;
const NEAR_END_PX = 40;

export class Timeline {
  #endS = 0;
  #parts = [];

  constructor() {
    this.wave = svg("g", {});
    this.picture = svg("svg", { class: "timeline-wave", preserveAspectRatio: "none", "aria-hidden": "true" }, this.wave);
    this.words = el("ol", { class: "timeline-words" });
    this.partial = el("ol", { class: "timeline-words is-partial", "aria-hidden": "true" });
    this.ticks = el("div", { class: "timeline-ticks", "aria-hidden": "true" });
    this.strip = el("div", { class: "timeline-strip" }, this.picture, this.words, this.partial, this.ticks);
    this.element = el(
      "div",
      { class: "timeline", tabindex: 0, role: "region", "aria-label": "Timeline of the words", hidden: true },
      this.strip,
    );
  }

  /** Draw the next part of the sound. @param {Float32Array} samples @param {number} rateHz */
  addSound(samples, rateHz) {
    const numLines = Math.max(Math.round((samples.length / rateHz) * LINES_PER_S), 1);
    const [startS, lengthS] = [this.#endS, samples.length / rateHz];
    const x = (index) => (startS + ((index + 0.5) * lengthS) / numLines).toFixed(3);
    const y = (value) => ((1 - Math.max(Math.min(value, 1), -1)) * (HEIGHT / 2)).toFixed(1);
    const lines = envelopeOf(samples, numLines).map(([low, high], at) => `M${x(at)} ${y(high)}V${y(low)}h0.0001`);
    const path = svg("path", { d: lines.join("") });
    this.wave.append(path);
    this.#parts.push([startS, path]);
    this.#extend(startS + lengthS);
  }

  /** @param {import("./transcript.js").Heard[]} heard */
  show(heard) {
    if (!heard.length) return;
    const isAtEnd = this.element.scrollWidth - this.element.scrollLeft - this.element.clientWidth < NEAR_END_PX;
    const [done, underWay] = [true, false].map((wanted) => heard.filter(({ is_final }) => is_final === wanted));
    this.words.append(...wordsOf(done).map(marker));
    this.partial.replaceChildren(...wordsOf(underWay).map(marker));
    for (const found of heard.flatMap(({ keywords }) => keywords ?? [])) this.#mark(found);
    this.#extend(Math.max(...heard.map(({ end_s }) => end_s), 0));
    this.#forget();
    if (isAtEnd) this.element.scrollLeft = this.element.scrollWidth;
  }

  #mark({ keyword, time_s, confidence }) {
    if (typeof time_s !== "number") return;
    const id = `${keyword}@${time_s.toFixed(2)}`;
    if (this.words.querySelector(`[data-keyword="${CSS.escape(id)}"]`)) return;
    const item = marker({ word: keyword, start_s: time_s, end_s: time_s, confidence });
    item.classList.add("is-keyword");
    item.dataset.keyword = id;
    this.words.append(item);
  }

  #extend(endS) {
    for (let second = this.ticks.childElementCount; second <= endS; second += 1) {
      this.ticks.append(el("span", { "--start": second }, second % 5 ? "" : clock(second)));
    }
    this.#endS = Math.max(endS, this.#endS);
    this.element.hidden = !this.#endS;
    this.strip.style.setProperty("--seconds", this.#endS.toFixed(2));
    this.picture.setAttribute("viewBox", `0 0 ${Math.max(this.#endS, 0.1)} ${HEIGHT}`);
  }

  #forget() {
    const firstS = this.#endS - MAX_S;
    while (this.#parts.length && this.#parts[0][0] < firstS) this.#parts.shift()[1].remove();
    while (this.words.firstElementChild && Number(this.words.firstElementChild.dataset.start) < firstS) {
      this.words.firstElementChild.remove();
    }
  }
}

/** Words whose times are known: a model of frames without a rate knows none. */
const wordsOf = (heard) => heard.flatMap(({ words }) => words ?? []).filter(({ start_s }) => typeof start_s === "number");

function marker({ word, start_s, end_s, confidence }) {
  const isKnown = typeof confidence === "number";
  const said = `${start_s.toFixed(2)}–${end_s.toFixed(2)} s${isKnown ? `, ${percent(confidence)}` : ""}`;
  const attributes = {
    class: isKnown && confidence < UNSURE ? "is-unsure" : "",
    title: `${word}: ${said}`,
    "data-start": start_s,
    "--start": start_s,
    "--length": Math.max(end_s - start_s, 0.04),
    "--sure": isKnown ? confidence : 1,
  };
  return el("li", attributes, word, el("span", { class: "unseen" }, `, ${said}`));
}
