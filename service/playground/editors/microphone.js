/** The microphone as a stream of samples. */

const WORKLET = new URL("./recorder_worklet.js", import.meta.url).href;

const REFUSALS = {
  NotAllowedError: "this page may not use the microphone: allow it in the browser, or choose a file",
  NotFoundError: "no microphone found: choose a file",
  NotReadableError: "the microphone cannot be opened: another program may be using it",
};

/** Browsers allow the microphone only over HTTPS or on localhost. */
export const hasMicrophone = () => Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

export class Microphone {
  /**
   * Open it. The browser asks the reader first.
   * @param {(samples: Float32Array) => void} onSamples blocks of one channel, from -1 to 1, a few milliseconds each
   * @param {{rateHz?: number, onLost?: () => void}} [options] `rateHz` is wished for: not all browsers resample, see
   *   the property; `onLost` is called when the device disappears
   * @returns {Promise<Microphone>} throws with a sentence
   */
  static async open(onSamples, { rateHz, onLost = () => {} } = {}) {
    const microphone = new Microphone();
    try {
      await microphone.#open(onSamples, rateHz, onLost);
      return microphone;
    } catch (error) {
      microphone.close();
      throw new Error(REFUSALS[error.name] ?? `the microphone does not work: ${error.message}`);
    }
  }

  async #open(onSamples, rateHz, onLost) {
    this.media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, autoGainControl: true } });
    this.media.getTracks().forEach((track) => track.addEventListener("ended", onLost));
    const source = this.#source(rateHz);
    await this.context.audioWorklet.addModule(WORKLET);
    const node = new AudioWorkletNode(this.context, "recorder", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => onSamples(data);
    source.connect(node);
    await this.context.resume();
  }

  /** Sound at the rate that is wished for, or at the device's where the browser cannot convert it. */
  #source(rateHz) {
    try {
      this.context = new AudioContext({ sampleRate: rateHz });
      return this.context.createMediaStreamSource(this.media);
    } catch {
      this.context?.close();
      this.context = new AudioContext();
      return this.context.createMediaStreamSource(this.media);
    }
  }

  get rateHz() {
    return this.context.sampleRate;
  }

  /** Release the device. */
  close() {
    this.media?.getTracks().forEach((track) => track.stop());
    if (this.context && this.context.state !== "closed") this.context.close();
  }
}
