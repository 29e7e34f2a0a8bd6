/** Editor for a sound: choose, drop or record it; with waveform and playback. */

import { el, svg } from "../elements/dom.js";
import { base64Of, bytesOf } from "../requests/bytes.js";
import { clearRefusal, markControl } from "../workbench/refusal.js";
import { takeFiles } from "./file_drop.js";
import { canRecord, Recorder } from "./recorder.js";
import { inputField } from "./text.js";
import { envelopeOf, soundOf, waveBytes } from "./wave.js";

const NUM_PARTS = 300;
const HEIGHT = 100;

/**
 * @param {{sample_rate_hz: number}} signal of the model's options
 * @param {number} maxS maximum length in seconds
 * @param {{label?: string, records?: boolean, sendsUnread?: boolean}} [options] `records`: with a button to record;
 *   `sendsUnread`: a file that the browser cannot read is sent as it is, for the service to read
 * @returns {import("./text.js").Editor & {take: (bytes: Uint8Array, name: string) => void}}
 */
export const soundEditor = (signal, maxS, { label = "Sound", records = true, sendsUnread = false } = {}) =>
  new SoundEditor(signal.sample_rate_hz, maxS, { label, records, sendsUnread });

class SoundEditor {
  #sound = null;
  #recorder = null;
  #playing = null;
  #taking = Promise.resolve();
  #closed = new AbortController();

  constructor(rateHz, maxS, options) {
    [this.rateHz, this.maxS, this.options] = [rateHz, maxS, options];
    this.control = el("input", { type: "file", id: "input", accept: "audio/*", "aria-describedby": "input-hint" });
    this.wave = svg("path", {});
    this.picture = svg(
      "svg",
      { viewBox: `0 0 ${NUM_PARTS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", class: "waveform" },
      this.wave,
    );
    this.caption = el("span", { class: "reading", role: "status" });
    this.playButton = button("Play", () => this.#togglePlaying());
    this.recordButton = button("Record", () => this.#toggleRecording());
    this.recordButton.disabled = !canRecord();
    this.element = this.#field();
    takeFiles(this.element, this.control, (file) => this.take(contentOf(file), file.name), this.#closed.signal);
    this.#draw(new Float32Array(1), "no sound yet");
  }

  async value() {
    await this.#taking;
    if (this.#recorder) throw new Error("still recording: stop the recording first");
    if (!this.#sound) throw new Error("no sound yet: choose a file, or record one");
    return { wav: base64Of(this.#sound.bytes) };
  }

  show({ wav }) {
    this.control.value = "";
    this.take(bytesOf(wav), "the example");
  }

  close() {
    this.#closed.abort();
    this.#playing?.close();
    this.#recorder?.stop();
    this.#recorder = null;
  }

  #field() {
    const { label, records } = this.options;
    const hint = [
      `An audio file${records ? " or a recording" : ""} of at most ${this.maxS.toFixed(2)} s.`,
      `It is sent as a WAV file with ${this.rateHz.toLocaleString("en")} Hz.`,
      canRecord() || !records ? "" : "Recording needs HTTPS or localhost.",
    ].join(" ");
    const row = el("div", { class: "actions" }, this.control, records ? this.recordButton : null);
    const figure = el("figure", { class: "sound" }, this.picture, el("figcaption", {}, this.playButton, this.caption));
    return inputField({ label, hint, control: this.control, row }, figure);
  }

  /** Show a sound, and send it from now on. @param {Uint8Array|Promise<Uint8Array>} coming */
  take(coming, name) {
    this.#taking = this.#read(coming, name);
  }

  async #read(coming, name) {
    clearRefusal(this.element);
    const bytes = await coming;
    try {
      this.#sound = await soundOf(bytes, this.rateHz);
      const { samples, rateHz } = this.#sound;
      this.#draw(samples, `${(samples.length / rateHz).toFixed(2)} s`);
    } catch {
      this.#onUnread(bytes, name);
    }
  }

  #onUnread(bytes, name) {
    this.#sound = this.options.sendsUnread ? { bytes, samples: null } : null;
    const caption = this.#sound ? `${name}: the browser cannot show it; it is sent as it is` : "no sound yet";
    this.#draw(new Float32Array(1), caption);
    if (!this.#sound) markControl(this.control, `the browser cannot read ${name} as sound`);
  }

  /** Draw the waveform, scaled to its peak. */
  #draw(samples, caption) {
    const parts = envelopeOf(samples, NUM_PARTS);
    const peak = Math.max(...parts.map(([low, high]) => Math.max(-low, high)), 0.01);
    const top = (value) => ((1 - value / peak) * (HEIGHT / 2)).toFixed(1);
    this.wave.setAttribute("d", parts.map(([low, high], at) => `M${at + 0.5} ${top(high)}V${top(low)}h0.01`).join(""));
    this.picture.setAttribute("aria-label", `The sound: ${caption}`);
    this.caption.textContent = caption;
    this.playButton.disabled = !this.#sound?.samples;
  }

  async #toggleRecording() {
    if (this.#recorder) return this.#endRecording();
    clearRefusal(this.element);
    this.recordButton.disabled = true;
    try {
      const recorder = await Recorder.start((samples, durationS) => this.#onHeard(samples, durationS));
      if (this.#closed.signal.aborted) return recorder.stop();
      this.#recorder = recorder;
      this.recordButton.textContent = "Stop recording";
    } catch (error) {
      markControl(this.control, error.message);
    }
    this.recordButton.disabled = false;
  }

  #onHeard(samples, durationS) {
    if (!this.#recorder) return;
    this.#draw(samples, `recording, ${durationS.toFixed(1)} of ${this.maxS.toFixed(1)} s`);
    if (durationS >= this.maxS) this.#endRecording();
  }

  /** Take a recording like a file, which resamples it from the rate of the microphone. */
  #endRecording() {
    const recorder = this.#recorder;
    this.#recorder = null;
    this.recordButton.textContent = "Record";
    recorder.stop();
    this.control.value = "";
    const most = Math.floor(this.maxS * recorder.rateHz);
    this.take(waveBytes(recorder.samples().subarray(0, most), recorder.rateHz), "the recording");
  }

  #togglePlaying() {
    if (this.#playing) return this.#playing.close();
    const context = (this.#playing = new AudioContext());
    const { samples, rateHz } = this.#sound;
    const source = context.createBufferSource();
    source.buffer = context.createBuffer(1, samples.length, rateHz);
    source.buffer.copyToChannel(samples, 0);
    source.connect(context.destination);
    source.addEventListener("ended", () => context.state === "closed" || context.close());
    context.addEventListener("statechange", () => context.state === "closed" && this.#onSilence());
    source.start();
    this.playButton.textContent = "Stop playing";
  }

  #onSilence() {
    this.#playing = null;
    this.playButton.textContent = "Play";
  }
}

const contentOf = async (file) => new Uint8Array(await file.arrayBuffer());

const button = (name, onclick) => el("button", { type: "button", class: "quiet", onclick }, name);
