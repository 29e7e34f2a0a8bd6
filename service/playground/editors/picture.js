/** Editor for a picture: choose, drop or paste it. */

import { el } from "../elements/dom.js";
import { base64Of, bytesOf } from "../requests/bytes.js";
import { clearRefusal, markControl } from "../workbench/refusal.js";
import { takeFiles } from "./file_drop.js";
import { inputField } from "./text.js";

const PNG = "image/png";
const MAX_BYTES_AS_IT_IS = 1 << 20;
/** Tolerance for equal aspect ratios. */
const NEARLY = 0.01;

/**
 * @param {{columns: number, rows: number}} size that the model reads
 * @returns {import("./text.js").Editor}
 */
export function pictureEditor(size) {
  const closed = new AbortController();
  const control = el("input", { type: "file", id: "input", accept: "image/*", "aria-describedby": "input-hint" });
  const canvas = el("canvas", { class: "picture", role: "img", "aria-label": "The picture", hidden: true });
  const hint = `Choose, drop or paste a picture. Files other than PNG are fitted into ${size.columns} × ${size.rows} pixels.`;
  const element = inputField({ label: "Picture", hint, control }, canvas);
  let bytes = null;
  let taking = Promise.resolve();
  const read = async (coming, name) => {
    clearRefusal(element);
    try {
      const given = await coming;
      await drawPicture(canvas, given);
      bytes = given;
      canvas.hidden = false;
    } catch {
      markControl(control, `the browser cannot read ${name} as a picture`);
    }
  };
  takeFiles(element, control, (file) => (taking = read(pngOf(file, size), file.name)), closed.signal);
  const value = async () => {
    await taking;
    if (!bytes) throw new Error("no picture yet: choose, drop or paste one");
    return { png: base64Of(bytes) };
  };
  const show = ({ png }) => {
    control.value = "";
    taking = read(bytesOf(png), "the example");
  };
  return { element, control, value, show, close: () => closed.abort() };
}

/** @param {HTMLCanvasElement} canvas @param {Uint8Array} bytes of an image file */
export async function drawPicture(canvas, bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes]));
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

/** Keep a PNG with the aspect ratio of the model; fit any other image onto white. */
async function pngOf(blob, size) {
  const bitmap = await createImageBitmap(blob);
  const proportions = (bitmap.width * size.rows) / (bitmap.height * size.columns);
  const isFit = blob.type === PNG && blob.size <= MAX_BYTES_AS_IT_IS && Math.abs(proportions - 1) < NEARLY;
  return isFit ? new Uint8Array(await blob.arrayBuffer()) : fittedPng(bitmap, size);
}

async function fittedPng(bitmap, { columns, rows }) {
  const canvas = new OffscreenCanvas(columns, rows);
  const pen = canvas.getContext("2d");
  const scale = Math.min(columns / bitmap.width, rows / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  pen.fillStyle = "white";
  pen.fillRect(0, 0, columns, rows);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, (columns - width) / 2, (rows - height) / 2, width, height);
  const blob = await canvas.convertToBlob({ type: PNG });
  return new Uint8Array(await blob.arrayBuffer());
}
