/** Which view shows which task. A new kind of task is one file and one line here. */

import { captioning } from "./captioning.js";
import { classification } from "./classification.js";
import { forecasting } from "./forecasting.js";
import { generation } from "./generation.js";
import { plainJson } from "./plain_json.js";
import { framesClassification, soundClassification } from "./signals.js";
import { tagging } from "./tagging.js";
import { translation } from "./translation.js";

/** @type {Object<string, import("../workbench/workbench.js").View>} */
const VIEWS = { tagging, classification, translation, generation, forecasting, captioning };

/** A classifier of what is no text, by the kind of its signal. */
const SIGNAL_VIEWS = { frames: framesClassification, waveform: soundClassification };

const of = (views, name) => (Object.hasOwn(views, name ?? "") ? views[name] : null);

/** A task that this page does not know is asked and answered in plain JSON. */
export function viewOf({ task, options }) {
  const signal = options?.signal;
  return (signal ? of(SIGNAL_VIEWS, signal.kind) : of(VIEWS, task)) ?? plainJson;
}
