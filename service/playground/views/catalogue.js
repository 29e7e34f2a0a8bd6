/** Views by task. A new task is one file and one line here. */

import { captioning } from "./captioning.js";
import { classification } from "./classification.js";
import { forecasting } from "./forecasting.js";
import { generation } from "./generation.js";
import { parsing } from "./parsing.js";
import { plainJson } from "./plain_json.js";
import { framesClassification, soundClassification, tensors } from "./signals.js";
import { tagging } from "./tagging.js";
import { framesTranscription, soundTranscription } from "./transcription.js";
import { translation } from "./translation.js";
import { video } from "./video.js";

/** @type {Object<string, import("../workbench/workbench.js").View>} */
const VIEWS = { tagging, parsing, classification, translation, generation, forecasting, captioning, video, tensors };

/** Views of models that read signals, by task and kind of signal. */
const SIGNAL_VIEWS = {
  classification: { frames: framesClassification, waveform: soundClassification },
  transcription: { frames: framesTranscription, waveform: soundTranscription },
};

const of = (views, name) => (Object.hasOwn(views, name ?? "") ? views[name] : null);

/** View of a model; unknown tasks, and models that failed and so have no details, are shown as plain JSON. */
export function viewOf({ task, options, state }) {
  if (state === "failed") return plainJson;
  const signal = options?.signal;
  return (signal ? of(of(SIGNAL_VIEWS, task) ?? {}, signal.kind) : of(VIEWS, task)) ?? plainJson;
}
