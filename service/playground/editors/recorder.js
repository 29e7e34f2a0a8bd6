/** Record samples from the microphone. */

import { hasMicrophone, Microphone } from "./microphone.js";

const LOOKS_PER_S = 10;

export const canRecord = hasMicrophone;

export class Recorder {
  #blocks = [];
  #numSamples = 0;

  /**
   * Begin. The browser asks the reader first.
   * @param {(samples: Float32Array, durationS: number) => void} onBlock what has come so far, a few times a second
   * @returns {Promise<Recorder>} throws with a sentence
   */
  static async start(onBlock) {
    const recorder = new Recorder();
    recorder.microphone = await Microphone.open((block) => recorder.#take(block, onBlock));
    return recorder;
  }

  #take(block, onBlock) {
    if (!this.microphone) return; // it is still opening
    this.#blocks.push(block);
    const before = this.durationS;
    this.#numSamples += block.length;
    const hasPassed = Math.floor(this.durationS * LOOKS_PER_S) > Math.floor(before * LOOKS_PER_S);
    if (hasPassed) onBlock(this.samples(), this.durationS);
  }

  get rateHz() {
    return this.microphone.rateHz;
  }

  get durationS() {
    return this.#numSamples / this.rateHz;
  }

  samples() {
    return joined(this.#blocks);
  }

  /** Release the microphone; the samples are kept. */
  stop() {
    this.microphone?.close();
  }
}

/** One array of all samples. @param {Float32Array[]} blocks */
export function joined(blocks) {
  const all = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let start = 0;
  for (const block of blocks) {
    all.set(block, start);
    start += block.length;
  }
  return all;
}
