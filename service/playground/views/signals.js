/** Models of numbers: classification of sounds and of sensor readings, and models of named arrays. */

import { arraysEditor, firstColumnOf, nameOf } from "../arrays/editor.js";
import { outputsOf } from "../arrays/outputs.js";
import { seriesEditor } from "../editors/series.js";
import { soundEditor } from "../editors/sound.js";
import { seriesThumbnail, soundThumbnail } from "../editors/thumbnails.js";
import { barFields, bars } from "./classification.js";
import { predictionView } from "./prediction.js";

/** Number of steps of a new drawing, unless the model accepts fewer. */
const NUM_STEPS = 100;

const shared = { verb: "Classify", fields: barFields };

/** Maximum length of a sound in seconds. */
const longestS = ({ options: { signal }, limits }) =>
  (limits.max_input_tokens * signal.samples_per_step) / signal.sample_rate_hz;

export const soundClassification = predictionView({
  ...shared,
  input: {
    editor: (model) => soundEditor(model.options.signal, longestS(model)),
    nameOf: (_, index, answer) => answer?.label ? `Sound ${index + 1}: ${answer.label}` : `Sound ${index + 1}`,
    thumbnailOf: ({ wav }, model) => soundThumbnail(wav, model.options.signal.sample_rate_hz),
  },
  show: (prediction) => bars(prediction, "The sound"),
});

export const framesClassification = predictionView({
  ...shared,
  input: {
    editor: ({ options: { signal }, limits }) =>
      seriesEditor({
        channels: signal.features,
        numSteps: Math.min(NUM_STEPS, limits.max_input_tokens),
        hint: [
          `CSV or JSON, one line per step, with the columns ${signal.features.join(", ")}.`,
          `At most ${limits.max_input_tokens} steps.`,
        ].join(" "),
      }),
    nameOf: ({ frames }, index, answer) => `Series ${index + 1}: ${answer?.label ?? `${frames.length} steps`}`,
    thumbnailOf: ({ frames }) => seriesThumbnail(frames.map((frame) => frame[0])),
  },
  show: (prediction, { frames }) => bars(prediction, `${frames.length} steps`),
});

export const tensors = predictionView({
  verb: "Run",
  input: {
    editor: ({ inputs, limits }) => arraysEditor({ inputs: inputs ?? [], maxSteps: limits.max_input_tokens }),
    nameOf,
    thumbnailOf: ({ tensors }) => seriesThumbnail(firstColumnOf(tensors)),
  },
  show: ({ outputs }, _, model) => outputsOf(outputs, model),
});
