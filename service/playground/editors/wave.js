/** Encode sound as a WAV file with the sample rate of the model. The browser decodes and resamples. */

const HEAD_BYTES = 44;
const MAX_16_BITS = 0x7fff;
/** Offsets of “RIFF”, “WAVE” and “fmt ” in a plain WAV file. */
const HEAD = [
  [0, 0x52494646],
  [8, 0x57415645],
  [12, 0x666d7420],
];

/** @typedef {{bytes: Uint8Array, samples: Float32Array, rateHz: number}} Sound */

/**
 * Decode any audio file that the browser can play. A WAV file of the right rate is kept byte for byte.
 * @param {Uint8Array} bytes
 * @param {number} rateHz
 * @returns {Promise<Sound>}
 */
export async function soundOf(bytes, rateHz) {
  const decoder = new OfflineAudioContext(1, 1, rateHz); // decodes to its own rate
  const buffer = await decoder.decodeAudioData(bytes.slice().buffer);
  const samples = mixed(buffer);
  return { bytes: rateOf(bytes) === rateHz ? bytes : waveBytes(samples, rateHz), samples, rateHz };
}

function mixed(buffer) {
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, index) => buffer.getChannelData(index));
  return channels[0].map((_, at) => channels.reduce((sum, channel) => sum + channel[at], 0) / channels.length);
}

/** Sample rate of a plain WAV file; 0 for other files. */
function rateOf(bytes) {
  if (bytes.length < HEAD_BYTES) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const isWave = HEAD.every(([at, name]) => view.getUint32(at) === name);
  return isWave ? view.getUint32(24, true) : 0;
}

/** Encode one channel with 16 bits. @param {Float32Array} samples from -1 to 1 @param {number} rateHz @returns {Uint8Array} */
export function waveBytes(samples, rateHz) {
  const view = new DataView(new ArrayBuffer(HEAD_BYTES + 2 * samples.length));
  const names = [
    [0, "RIFF"],
    [8, "WAVEfmt "],
    [36, "data"],
  ];
  for (const [start, name] of names) [...name].forEach((sign, at) => view.setUint8(start + at, sign.charCodeAt(0)));
  view.setUint32(4, view.byteLength - 8, true);
  const long = { 16: 16, 24: rateHz, 28: 2 * rateHz, 40: 2 * samples.length };
  const short = { 20: 1, 22: 1, 32: 2, 34: 16 };
  for (const [at, value] of Object.entries(long)) view.setUint32(Number(at), value, true);
  for (const [at, value] of Object.entries(short)) view.setUint16(Number(at), value, true);
  samples.forEach((sample, at) => view.setInt16(HEAD_BYTES + 2 * at, sixteenBits(sample), true));
  return new Uint8Array(view.buffer);
}

const sixteenBits = (sample) => Math.round(Math.min(Math.max(sample, -1), 1) * MAX_16_BITS);

/**
 * Minimum and maximum of each of `numParts` parts, to draw the waveform.
 * @param {Float32Array} samples
 * @param {number} numParts
 * @returns {[number, number][]}
 */
export function envelopeOf(samples, numParts) {
  return Array.from({ length: numParts }, (_, part) => {
    const begin = Math.floor((part * samples.length) / numParts);
    const end = Math.max(Math.floor(((part + 1) * samples.length) / numParts), begin + 1);
    return extremes(samples.subarray(begin, end));
  });
}

function extremes(samples) {
  let [low, high] = [0, 0];
  for (const value of samples) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}
