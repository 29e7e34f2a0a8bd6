/** Editor for a clip: choose, drop or paste a GIF file, or a PNG file with animation. */

import { takeFiles } from "../editors/file_drop.js";
import { inputField } from "../editors/text.js";
import { el } from "../elements/dom.js";
import { base64Of } from "../requests/bytes.js";
import { clearRefusal, markControl } from "../workbench/refusal.js";
import { framesOf, player } from "./clip_frames.js";

const TYPES = ["image/gif", "image/png", "image/apng"];

/**
 * @param {{frames: number}} most frames that the model reads
 * @returns {import("../editors/text.js").Editor}
 */
export function clipEditor({ frames }) {
  const closed = new AbortController();
  const accept = [...TYPES, ".gif", ".apng"].join();
  const control = el("input", { type: "file", id: "input", accept, "aria-describedby": "input-hint" });
  const place = el("div", {});
  const hint = `Choose, drop or paste a GIF file or a PNG file with animation. Of more than ${frames} frames so many are read.`;
  const element = inputField({ label: "Clip", hint, control }, place);
  let input = null;
  let taking = Promise.resolve();
  const show = (given) => {
    clearRefusal(element);
    input = given;
    place.replaceChildren(player(framesOf(given)));
  };
  const take = async (file) => {
    const given = { clip: base64Of(new Uint8Array(await file.arrayBuffer())) };
    try {
      await framesOf(given);
      show(given);
    } catch {
      clearRefusal(element);
      markControl(control, `the browser cannot read ${file.name} as a clip: GIF, or PNG with animation`);
    }
  };
  takeFiles(element, control, (file) => (taking = take(file)), closed.signal);
  const value = async () => {
    await taking;
    if (!input) throw new Error("no clip yet: choose, drop or paste one");
    return input;
  };
  const showExample = (given) => {
    control.value = "";
    show(given);
  };
  return { element, control, value, show: showExample, close: () => closed.abort() };
}
