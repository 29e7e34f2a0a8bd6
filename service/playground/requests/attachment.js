/** Files for curl commands: parts of a request that are too long for a command line. */

import { bytesOf } from "./bytes.js";

const MAX_NUMBERS_CHARACTERS = 2000;
const WHOLE_BODY = "request.json";

/** Inputs that are a file in base64, by their field. */
const FILES = { wav: "sound.wav", png: "picture.png", clip: "clip.gif" };

/**
 * `field` is that of the inputs which holds the file in base64; without one the file is the whole body.
 * @typedef {{name: string, field: string, content: BlobPart}} Attachment
 */

/** @param {object} body @returns {Attachment|null} */
export function attachmentOf(body) {
  const { inputs } = body;
  if (typeof inputs !== "object" || inputs === null) return null;
  const field = Object.keys(FILES).find((name) => typeof inputs[name] === "string");
  if (field) return { name: FILES[field], field, content: bytesOf(inputs[field]) };
  const isLong = ("frames" in inputs || "tensors" in inputs) && JSON.stringify(inputs).length > MAX_NUMBERS_CHARACTERS;
  return isLong ? { name: WHOLE_BODY, field: "", content: JSON.stringify(body) } : null;
}

/** @param {Attachment} attachment */
export function save({ name, content }) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content]));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
