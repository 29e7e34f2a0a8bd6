/** One recording that is recognised while it is spoken: microphone, stream, and the sound for a second try. */

import { Microphone } from "../editors/microphone.js";
import { joined } from "../editors/recorder.js";
import { LiveStream } from "./live_stream.js";

const PIECE_S = 0.1;
/** A peak below this, for so long, is a microphone that is muted. */
const SILENT_PEAK = 0.0005;
const SILENT_S = 3;
const CLIPPED_PEAK = 0.999;

/**
 * @typedef {object} Listener
 * @property {(peak: number, hint: string) => void} onLevel of each piece, 0 to 1, and what is wrong with it
 * @property {(samples: Float32Array, rateHz: number) => void} onSound each piece
 * @property {(started: object) => void} onStarted
 * @property {(message: object, delayMs: number, durationS: number) => void} onResult
 * @property {(isBack: boolean) => void} onMoved
 * @property {(reason: string|null) => void} onOver
 */

export class LiveSession {
  #blocks = [];
  #numInBlocks = 0;
  #kept = [];
  #keptS = 0;
  #quietS = 0;

  /**
   * @param {object} start fields of the message `start`
   * @param {{rateHz: number, maxS: number, endsAtMax: boolean}} sound `maxS` of it is kept; `endsAtMax` if the model
   *   takes no more
   * @param {Listener} listener
   * @returns {Promise<LiveSession>} throws with a sentence
   */
  static async begin(start, sound, listener) {
    const session = new LiveSession();
    session.sound = sound;
    session.listener = listener;
    session.microphone = await Microphone.open((block) => session.#hear(block), {
      rateHz: sound.rateHz,
      onLost: () => session.finish(),
    });
    session.stream = new LiveStream(start, session.microphone.rateHz, {
      onStarted: listener.onStarted,
      onResult: listener.onResult,
      onMoved: listener.onMoved,
      onOver: (reason) => session.#onOver(reason),
    });
    return session;
  }

  /** Stop the microphone; the last answer follows. */
  finish() {
    if (this.isFinishing) return;
    this.isFinishing = true;
    this.#cut();
    this.microphone.close();
    this.stream.end();
  }

  /** Leave at once. */
  close() {
    this.isFinishing = true;
    this.microphone.close();
    this.stream.close();
  }

  /** What was spoken, as far as it is kept. @returns {{samples: Float32Array, rateHz: number}} */
  recording() {
    return { samples: joined(this.#kept), rateHz: this.microphone.rateHz };
  }

  #hear(block) {
    if (!this.stream || this.isFinishing) return;
    this.#blocks.push(block);
    this.#numInBlocks += block.length;
    if (this.#numInBlocks >= PIECE_S * this.microphone.rateHz) this.#cut();
  }

  /** The blocks so far are one piece. */
  #cut() {
    if (!this.#numInBlocks) return;
    const samples = joined(this.#blocks);
    [this.#blocks, this.#numInBlocks] = [[], 0];
    this.stream.push(samples);
    this.#keep(samples);
    this.listener.onSound(samples, this.microphone.rateHz);
    this.#judge(samples);
    if (this.sound.endsAtMax && this.#keptS >= this.sound.maxS) this.finish();
  }

  #keep(samples) {
    if (this.#keptS >= this.sound.maxS) return;
    this.#kept.push(samples);
    this.#keptS += samples.length / this.microphone.rateHz;
  }

  #judge(samples) {
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    this.#quietS = peak < SILENT_PEAK ? this.#quietS + samples.length / this.microphone.rateHz : 0;
    const isMuted = this.#quietS >= SILENT_S;
    const hint = isMuted ? "No sound arrives: is the microphone muted?" : peak > CLIPPED_PEAK ? "Too loud" : "";
    this.listener.onLevel(peak, hint);
  }

  #onOver(reason) {
    this.isFinishing = true;
    this.microphone.close();
    this.listener.onOver(reason);
  }
}
