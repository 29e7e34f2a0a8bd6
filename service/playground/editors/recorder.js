/** Record samples from the microphone. */

const WORKLET = new URL("./recorder_worklet.js", import.meta.url).href;
const LOOKS_PER_S = 10;

const REFUSALS = {
  NotAllowedError: "this page may not use the microphone: allow it in the browser, or choose a file",
  NotFoundError: "no microphone found: choose a file",
};

/** Browsers allow the microphone only over HTTPS or on localhost. */
export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

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
    try {
      await recorder.#open(onBlock);
      return recorder;
    } catch (error) {
      recorder.stop();
      throw new Error(REFUSALS[error.name] ?? `the microphone does not work: ${error.message}`);
    }
  }

  async #open(onBlock) {
    this.media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, autoGainControl: true } });
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule(WORKLET);
    const node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => this.#take(data, onBlock);
    this.context.createMediaStreamSource(this.media).connect(node);
  }

  #take(block, onBlock) {
    this.#blocks.push(block);
    const before = this.durationS;
    this.#numSamples += block.length;
    const hasPassed = Math.floor(this.durationS * LOOKS_PER_S) > Math.floor(before * LOOKS_PER_S);
    if (hasPassed) onBlock(this.samples(), this.durationS);
  }

  get rateHz() {
    return this.context.sampleRate;
  }

  get durationS() {
    return this.#numSamples / this.rateHz;
  }

  samples() {
    const all = new Float32Array(this.#numSamples);
    let start = 0;
    for (const block of this.#blocks) {
      all.set(block, start);
      start += block.length;
    }
    return all;
  }

  /** Release the microphone; the samples are kept. */
  stop() {
    this.media?.getTracks().forEach((track) => track.stop());
    this.context?.close();
  }
}
