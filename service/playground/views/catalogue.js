/** Which view shows which task. A new kind of task is one file and one line here. */

import { classification } from "./classification.js";
import { generation } from "./generation.js";
import { plainJson } from "./plain_json.js";
import { tagging } from "./tagging.js";
import { translation } from "./translation.js";

/** @type {Object<string, import("../workbench.js").View>} */
const VIEWS = { tagging, classification, translation, generation };

/** A task that this page does not know is asked and answered in plain JSON. */
export const viewOf = (model) => (Object.hasOwn(VIEWS, model.task ?? "") ? VIEWS[model.task] : plainJson);
