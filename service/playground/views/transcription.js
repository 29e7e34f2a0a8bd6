/** Speech recognition: live from the microphone, or of a file; the words on a timeline. */

import { seriesEditor } from "../editors/series.js";
import { soundEditor } from "../editors/sound.js";
import { soundOf } from "../editors/wave.js";
import { seriesThumbnail, soundThumbnail } from "../editors/thumbnails.js";
import { copyButton } from "../elements/copy.js";
import { el, percent } from "../elements/dom.js";
import { bytesOf } from "../requests/bytes.js";
import { speaking } from "../speech/speaking.js";
import { Timeline } from "../speech/timeline.js";
import { Transcript } from "../speech/transcript.js";
import { predictionView } from "./prediction.js";

const MAX_BEAMS = 16;
const NUM_FRAMES = 100;

/** Maximum length of a whole sound in seconds. */
const longestS = ({ options: { signal }, limits }) =>
  (limits.max_input_tokens * signal.samples_per_step) / signal.sample_rate_hz;

/** Fields of the parameters that this model takes. @param {object} model */
function fields(model) {
  const known = model.parameters?.properties ?? {};
  return FIELDS.map((field) => ({ ...field, ...field.of?.(model) })).filter(({ name, needsChunks }) => {
    return name in known && !(needsChunks && model.reads_chunks === false);
  });
}

/** @type {(import("../workbench/fields.js").Field & {of?: (model: object) => object, needsChunks?: boolean})[]} */
const FIELDS = [
  { name: "words", label: "Words", kind: "choice", value: true, text: "with times", hint: "confidence of each word" },
  {
    name: "num_beams",
    label: "Beams",
    kind: "slider",
    min: 0,
    max: MAX_BEAMS,
    value: 0,
    off: 0,
    hint: "hypotheses kept; 1 is greedy, and fastest",
    of: ({ options }) => ({ offText: `model's (${options?.num_beams ?? 1})` }),
  },
  {
    name: "endpoint_ms",
    label: "Pause",
    kind: "number",
    min: 0,
    max: 10_000,
    step: 100,
    value: "",
    hint: "ms of silence that end an utterance; 0 never",
    needsChunks: true,
    of: ({ options }) => ({ placeholder: String(options?.endpoint_ms ?? "") }),
  },
  { name: "vocabulary", label: "Only these words", kind: "list", placeholder: "yes, no, stop", hint: "a word list" },
  { name: "phrases", label: "Likely phrases", kind: "list", placeholder: "New York", hint: "names are found more often" },
  { name: "keywords", label: "Spot keywords", kind: "list", placeholder: "help", hint: "marked on the timeline" },
];

function show(heard, inputs, model) {
  const transcript = new Transcript();
  if (heard.text) transcript.show([{ ...heard, is_final: true }]);
  else transcript.say("Nothing was recognised.");
  const timeline = new Timeline();
  const sure = typeof heard.confidence === "number" ? `confidence ${percent(heard.confidence)}` : "";
  const copy = copyButton(transcript.list, { name: "Copy text", textOf: () => transcript.text });
  drawSound(timeline, inputs, model).then(() => timeline.show([{ ...heard, is_final: true }]));
  const actions = el("div", { class: "actions" }, copy, el("span", { class: "score" }, sure));
  return el("div", { class: "transcribed" }, transcript.element, timeline.element, actions);
}

/** Frames have no waveform, and not every sound that the service reads can be drawn by a browser. */
async function drawSound(timeline, { wav }, { options: { signal } }) {
  if (!wav) return;
  try {
    const { samples, rateHz } = await soundOf(bytesOf(wav), signal.sample_rate_hz);
    timeline.addSound(samples, rateHz);
  } catch {
    // the words have their times all the same
  }
}

const nameOf = (kind) => (_, index, answer) => (answer?.text ? `“${answer.text}”` : `${kind} ${index + 1}`);

export const soundTranscription = {
  ...predictionView({
    verb: "Transcribe",
    fields,
    input: {
      editor: (model) =>
        soundEditor(model.options.signal, longestS(model), { label: "Or a file", records: false, sendsUnread: true }),
      nameOf: nameOf("Sound"),
      thumbnailOf: ({ wav }, model) => soundThumbnail(wav, model.options.signal.sample_rate_hz),
    },
    show,
  }),
  live: (desk) => speaking(desk, { rateHz: desk.model.options.signal.sample_rate_hz, maxS: longestS(desk.model) }),
};

export const framesTranscription = predictionView({
  verb: "Transcribe",
  fields,
  input: {
    editor: ({ options: { signal }, limits }) =>
      seriesEditor({
        channels: signal.features,
        numSteps: NUM_FRAMES,
        hint: `Frames of speech as CSV or JSON, with the columns ${signal.features.join(", ")}. At most ${limits.max_input_tokens} steps.`,
      }),
    nameOf: nameOf("Frames"),
    thumbnailOf: ({ frames }) => seriesThumbnail(frames.map((frame) => frame[0])),
  },
  show,
});
