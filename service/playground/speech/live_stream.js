/** Sound sent over the WebSocket `/stream` while it is heard, and the answers to it. */

import { getJson } from "../requests/api.js";
import { apiKey } from "../requests/api_key.js";
import { reasonOf } from "./refusals.js";

/** Bytes that the browser may hold for the network before pieces wait here. */
const MAX_BUFFERED_BYTES = 1 << 16;
/** A service or a network that is further behind than this cannot keep up; no more sound is held for it. */
const MAX_BEHIND_S = 20;
const LOOK_AGAIN_MS = 50;
const PATIENCE_FOR_FINAL_MS = 60_000;
const MAX_RESUMES = 5;
const FIRST_PAUSE_MS = 500;
const MAX_16_BITS = 0x7fff;
/** Browsers send no headers with a WebSocket: an API key travels as a subprotocol, beside that of the service. */
const PROTOCOL = "unroll";
const KEY_PROTOCOL = "unroll.bearer.";

/**
 * One piece of sound that was not answered yet.
 * @typedef {{samples: Int16Array, heardMs: number}} Piece
 *
 * @typedef {object} Listener
 * @property {(started: object) => void} onStarted the message of the service
 * @property {(message: object, delayMs: number, durationS: number) => void} onResult a `result` or `final`; how long
 *   after the sound it came, and how much sound it answers
 * @property {(isBack: boolean) => void} onMoved the service stopped, and the stream goes on elsewhere; then true
 * @property {(reason: string|null) => void} onOver no more comes: null after `final`, else a sentence
 */

export class LiveStream {
  #waiting = [];
  #sent = [];
  #state = null;
  #isEnding = false;
  #isOver = false;
  endedMs = 0;
  #hasStarted = false;
  #numResumes = 0;
  #timers = new Set();

  /**
   * @param {{model: string, version: string, parameters?: object}} start
   * @param {number} rateHz
   * @param {Listener} listener
   */
  constructor(start, rateHz, listener) {
    this.start = { type: "start", ...start, encoding: "pcm_s16le", sample_rate_hz: rateHz };
    this.rateHz = rateHz;
    this.listener = listener;
    this.#open();
  }

  /** @param {Float32Array} samples of about 100 ms */
  push(samples) {
    if (this.#isOver || this.#isEnding) return;
    this.#waiting.push({ samples: Int16Array.from(samples, sixteenBits), heardMs: performance.now() });
    this.#pump();
    if (this.#behindS() > MAX_BEHIND_S) this.#finish(reasonOf("slow"));
  }

  /** No more sound comes: the last answer does. */
  end() {
    this.#isEnding = true;
    this.#pump();
    this.#later(() => this.#finish(reasonOf("silent")), PATIENCE_FOR_FINAL_MS);
  }

  /** Leave, without a further answer. */
  close() {
    this.#isOver = true;
    this.#release();
  }

  #open() {
    this.#hasStarted = false;
    const address = new URL("stream", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address.href, ...protocolsOf(apiKey()));
    this.socket = socket;
    socket.addEventListener("open", () => socket.send(JSON.stringify(this.#beginning())));
    socket.addEventListener("message", ({ data }) => socket === this.socket && this.#take(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => socket === this.socket && this.#onClose(code));
  }

  #beginning() {
    return this.#state ? { ...this.start, state: this.#state } : this.start;
  }

  #take(message) {
    if (this.#isOver) return;
    if (message.type === "started") this.#onStarted(message);
    else if (message.type === "result" || message.type === "final") this.#onAnswer(message);
    else if (message.type === "closing") this.#move(message);
    else if (message.type === "error") this.#finish(reasonOf("refused", message));
  }

  #onStarted(message) {
    this.#hasStarted = true;
    if (this.#numResumes) this.listener.onMoved(true);
    this.listener.onStarted(message);
    this.#pump();
  }

  #onAnswer(message) {
    const isFinal = message.type === "final";
    const answered = isFinal ? this.#sent.splice(0) : this.#sent.splice(0, 1);
    const heardMs = answered.at(-1)?.heardMs ?? (this.endedMs || performance.now());
    const durationS = answered.reduce((sum, { samples }) => sum + samples.length, 0) / this.rateHz;
    this.listener.onResult(message, performance.now() - heardMs, durationS);
    if (isFinal) this.#finish(null);
  }

  /** The service stops: go on with the state at another replica, or at this one when it is back. */
  #move({ state }) {
    this.#state = state ?? this.#state;
    this.#waiting.unshift(...this.#sent.splice(0));
    this.endedMs = 0;
    this.#numResumes += 1;
    if (this.#numResumes > MAX_RESUMES) {
      this.#finish(reasonOf("stopped"));
      return;
    }
    this.listener.onMoved(false);
    const old = this.socket;
    this.socket = null;
    this.#hasStarted = false;
    old.close(1000);
    this.#later(() => this.#open(), FIRST_PAUSE_MS * 2 ** (this.#numResumes - 1));
  }

  async #onClose(code) {
    if (this.#isOver) return;
    if (this.#numResumes && !this.#hasStarted) {
      this.#move({});
      return;
    }
    if (this.#hasStarted) this.#finish(reasonOf("lost", { code }));
    else this.#finish(await whyNotOpened());
  }

  #pump() {
    if (!this.#hasStarted || this.#isOver) return;
    while (this.#waiting.length && this.socket.bufferedAmount < MAX_BUFFERED_BYTES) {
      const piece = this.#waiting.shift();
      this.socket.send(piece.samples);
      this.#sent.push(piece);
    }
    if (this.#waiting.length) this.#later(() => this.#pump(), LOOK_AGAIN_MS);
    else if (this.#isEnding && !this.endedMs) {
      this.endedMs = performance.now();
      this.socket.send(JSON.stringify({ type: "end" }));
    }
  }

  /** Seconds of sound that have no answer yet. */
  #behindS() {
    const pieces = [...this.#waiting, ...this.#sent];
    return pieces.reduce((sum, { samples }) => sum + samples.length, 0) / this.rateHz;
  }

  #finish(reason) {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#release();
    this.listener.onOver(reason);
  }

  #later(work, delayMs) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#isOver) work();
    }, delayMs);
    this.#timers.add(timer);
  }

  #release() {
    this.#timers.forEach(clearTimeout);
    this.#waiting = [];
    this.#sent = [];
    this.socket?.close(1000);
  }
}

const protocolsOf = (key) => (key ? [[PROTOCOL, KEY_PROTOCOL + urlSafeBase64(key)]] : []);

const urlSafeBase64 = (text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const sixteenBits = (sample) => Math.round(Math.min(Math.max(sample, -1), 1) * MAX_16_BITS);

/** Browsers hide why a WebSocket was refused: ask for the service's health instead. */
async function whyNotOpened() {
  try {
    await getJson("health/ready");
    return reasonOf("unopened");
  } catch (error) {
    return error.status ? reasonOf("refused", { error: error.message, reasons: error.reasons }) : error.message;
  }
}
