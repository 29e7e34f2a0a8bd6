/** The live part of a form for speech: a button to speak, the level, and the text while one speaks. */

import { hasMicrophone } from "../editors/microphone.js";
import { waveBytes } from "../editors/wave.js";
import { copyButton } from "../elements/copy.js";
import { el } from "../elements/dom.js";
import { addressOf } from "../requests/api.js";
import { snippetsOf } from "../workbench/receipt.js";
import { LiveSession } from "./live_session.js";
import { LIVE_PROGRAMS } from "./programs.js";
import { Readings } from "./readings.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";

const HINT = "Text appears while you speak. The sound is sent to this service only.";
const WHOLE_HINT = "This model reads the whole sound: the text appears when you stop.";
const NO_MICROPHONE = "The microphone needs HTTPS or localhost, and a browser with audio worklets. Files work all the same.";

/**
 * @param {import("../workbench/workbench.js").Desk} desk
 * @param {{rateHz: number, maxS: number}} sound
 * @returns {import("../workbench/workbench.js").Live}
 */
export const speaking = (desk, sound) => new Speaking(desk, sound);

class Speaking {
  #session = null;
  #isOpening = false;
  #isClosed = false;

  constructor(desk, sound) {
    this.desk = desk;
    this.readsWhole = desk.model.reads_chunks === false;
    this.sound = { ...sound, endsAtMax: this.readsWhole };
    this.button = el("button", { type: "button", class: "speak", onclick: () => this.#toggle() }, "Speak");
    this.level = el("span", { class: "level", "aria-hidden": "true", "--level": 0 });
    this.status = el("span", { class: "speak-status", role: "status" });
    this.error = el("p", { class: "alert", role: "alert", hidden: true });
    this.button.disabled = !hasMicrophone() || desk.model.state !== "ready";
    const hint = hasMicrophone() ? (this.readsWhole ? WHOLE_HINT : HINT) : NO_MICROPHONE;
    const row = el("div", { class: "speak-row" }, this.button, this.level, this.status);
    this.element = el(
      "section",
      { class: "speaking", "aria-label": "Speak" },
      row,
      el("p", { class: "hint", id: "speak-hint" }, hint),
      this.error,
    );
    this.button.setAttribute("aria-describedby", "speak-hint");
  }

  /** Stop the microphone; the last answer follows. */
  stop() {
    if (!this.#session || this.#session.isFinishing) return;
    this.#session.finish();
    this.#show("Finishing …", "finishing");
  }

  /** Leave at once. What is shown stays. */
  cancel() {
    this.#session?.close();
    this.#settle("");
  }

  close() {
    this.#isClosed = true;
    this.cancel();
  }

  async #toggle() {
    if (this.button.ariaDisabled === "true") return;
    if (this.#session) {
      this.stop();
      return;
    }
    this.desk.begin();
    this.error.hidden = true;
    this.#isOpening = true;
    this.#show("Waiting for the microphone …", "opening");
    const start = this.desk.start();
    try {
      const session = await LiveSession.begin(start, this.sound, this.#listener());
      this.#isOpening = false;
      if (this.#isClosed) return session.close();
      this.#session = session;
      this.#lay(start);
      this.#show("Connecting …", "running");
    } catch (error) {
      this.#isOpening = false;
      this.#fail(error.message);
    }
  }

  /** The place of the answer. */
  #lay(start) {
    this.transcript = new Transcript();
    this.timeline = new Timeline();
    this.readings = new Readings();
    this.transcript.say(this.readsWhole ? "The text appears when you stop." : "Say something …");
    const copy = copyButton(this.transcript.list, { name: "Copy text", textOf: () => this.transcript.text });
    const exchange = { address: addressOf("stream"), body: start };
    const article = el(
      "article",
      { class: "answer", "aria-label": "Live transcript" },
      this.transcript.element,
      this.timeline.element,
      el("div", { class: "actions" }, copy),
    );
    const about = el("section", { class: "receipt", "aria-label": "About this stream" }, this.readings.element);
    about.append(snippetsOf({ ...exchange, rateHz: this.sound.rateHz }, LIVE_PROGRAMS));
    this.desk.place.replaceChildren(article, about);
  }

  #listener() {
    return {
      onLevel: (peak, hint) => {
        this.level.style.setProperty("--level", Math.sqrt(peak).toFixed(3));
        this.level.classList.toggle("is-clipped", hint === "Too loud");
        if (this.isListening) this.#say(hint || "Listening …");
      },
      onSound: (samples, rateHz) => {
        this.readings.addSound(samples.length / rateHz);
        this.timeline.addSound(samples, rateHz);
      },
      onStarted: ({ reads }) => {
        this.isListening = !this.#session?.isFinishing;
        if (reads === "whole") this.transcript.say("The text appears when you stop.");
        this.#say("Listening …");
      },
      onResult: (message, delayMs, durationS) => this.#onResult(message, delayMs, durationS),
      onMoved: (isBack) => {
        this.isListening = isBack;
        this.#say(isBack ? "Listening …" : "The service restarts: the sound is kept, and sent when it is back …");
      },
      onOver: (reason) => this.#onOver(reason),
    };
  }

  #onResult(message, delayMs, durationS) {
    const heard = message.predictions ?? [];
    this.readings.addAnswer(message, delayMs, durationS);
    if (heard.some(({ text }) => text)) this.transcript.say("");
    this.transcript.show(heard);
    this.timeline.show(heard);
  }

  #onOver(reason) {
    this.transcript.end();
    if (!this.transcript.text) this.transcript.say("Nothing was recognised.");
    const { samples, rateHz } = this.#session.recording();
    if (samples.length) this.desk.keep(waveBytes(samples, rateHz), "the recording");
    this.#settle(reason ? "" : `Done: ${this.readings.heardS.toFixed(1)} s of sound.`);
    if (reason) this.#fail(reason);
    else this.desk.place.scrollIntoView({ block: "nearest" }); // the rest of the form is back above it
  }

  #fail(reason) {
    this.#settle("");
    this.error.textContent = reason.charAt(0).toUpperCase() + reason.slice(1);
    this.error.hidden = false;
  }

  #settle(said) {
    this.#session = null;
    this.isListening = false;
    this.level.style.setProperty("--level", 0);
    this.#show(said, "idle");
  }

  /** @param {"idle"|"opening"|"running"|"finishing"} phase */
  #show(said, phase) {
    this.#say(said);
    this.element.dataset.phase = phase;
    this.button.textContent = phase === "idle" || phase === "opening" ? "Speak" : "Stop";
    // A button that is disabled would lose the focus.
    this.button.setAttribute("aria-disabled", String(phase === "opening" || phase === "finishing"));
    if (phase === "finishing") this.isListening = false;
  }

  /** Change the text only where it differs, so that it is not read out ten times a second. */
  #say(sentence) {
    if (this.status.textContent !== sentence) this.status.textContent = sentence;
  }
}
