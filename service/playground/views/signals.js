/** Classification of what is no text: a sound, or the readings of sensors. */

import { seriesEditor } from "../editors/series.js";
import { soundEditor } from "../editors/sound.js";
import { barFields, bars } from "./classification.js";
import { predictionView } from "./prediction.js";

/** A series that is drawn from nothing has so many steps, unless the model reads fewer. */
const NUM_STEPS = 100;

const shared = { verb: "Classify", fields: barFields };

/** The longest sound that a model reads, in seconds. */
const longestS = ({ options: { signal }, limits }) =>
  (limits.max_input_tokens * signal.samples_per_step) / signal.sample_rate_hz;

export const soundClassification = predictionView({
  ...shared,
  input: {
    editor: (model) => soundEditor(model.options.signal, longestS(model)),
    nameOf: (_, index) => `Sound ${index + 1}`,
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
          `CSV or JSON, a line for each step, with ${signal.features.join(", ")}.`,
          `There may be ${limits.max_input_tokens} steps.`,
        ].join(" "),
      }),
    nameOf: ({ frames }, index) => `Series ${index + 1}, ${frames.length} steps`,
  },
  show: (prediction, { frames }) => bars(prediction, `${frames.length} steps`),
});
