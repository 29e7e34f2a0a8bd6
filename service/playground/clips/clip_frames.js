/** Frames of a clip as bitmaps, and a canvas on which they play. */

import { el } from "../elements/dom.js";
import { bytesOf } from "../requests/bytes.js";

const USUAL_MS = 100;
/** Programs say less than this for "as usual". */
const LEAST_MS = 11;
const GIF_START = 0x47;

/**
 * `durations` are in milliseconds; `isWhole` is false where the browser can show the first frame alone.
 * @typedef {{bitmaps: ImageBitmap[], durations: number[], isWhole: boolean}} Frames
 */

/** @param {{clip?: string, pictures?: string[]}} input files in base64 @returns {Promise<Frames>} */
export async function framesOf({ clip, pictures }) {
  if (pictures) return equallyLong(await Promise.all(pictures.map((png) => bitmapOf(bytesOf(png)))), true);
  const bytes = bytesOf(clip);
  // Browsers have it on pages of https and of this machine.
  return "ImageDecoder" in globalThis ? decoded(bytes) : equallyLong([await bitmapOf(bytes)], false);
}

const bitmapOf = (bytes) => createImageBitmap(new Blob([bytes]));
const equallyLong = (bitmaps, isWhole) => ({ bitmaps, durations: bitmaps.map(() => USUAL_MS), isWhole });

async function decoded(bytes) {
  const type = bytes[0] === GIF_START ? "image/gif" : "image/png";
  const decoder = new ImageDecoder({ data: bytes, type });
  await Promise.all([decoder.completed, decoder.tracks.ready]);
  const [bitmaps, durations] = [[], []];
  for (let frameIndex = 0; frameIndex < decoder.tracks.selectedTrack.frameCount; frameIndex += 1) {
    const { image } = await decoder.decode({ frameIndex });
    bitmaps.push(await createImageBitmap(image));
    const shown = (image.duration ?? 0) / 1000;
    durations.push(shown < LEAST_MS ? USUAL_MS : shown);
    image.close();
  }
  decoder.close();
  if (!bitmaps.length) throw new Error("there is no frame");
  return { bitmaps, durations, isWhole: true };
}

/** @param {HTMLCanvasElement} canvas @param {ImageBitmap} bitmap */
export function drawFrame(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

/**
 * A clip that plays until it leaves the page, with a button that halts it. It waits where motion is not wanted.
 * @param {Promise<Frames>} coming
 * @returns {HTMLElement}
 */
export function player(coming) {
  const canvas = el("canvas", { class: "picture", role: "img", "aria-label": "The clip" });
  const button = el("button", { type: "button", class: "quiet", hidden: true });
  const element = el("div", { class: "clip-player" }, canvas, button);
  const start = (frames) => {
    drawFrame(canvas, frames.bitmaps[0]);
    if (frames.bitmaps.length > 1) playOn(canvas, button, frames);
    else if (!frames.isWhole) element.append(el("p", { class: "hint" }, "This browser shows the first frame alone."));
  };
  coming.then(start, () => element.replaceChildren("The browser cannot show this clip."));
  return element;
}

function playOn(canvas, button, { bitmaps, durations }) {
  let [index, timer] = [0, 0];
  const next = () => {
    if (!canvas.isConnected) return;
    index = (index + 1) % bitmaps.length;
    drawFrame(canvas, bitmaps[index]);
    timer = setTimeout(next, durations[index]);
  };
  const halt = (isHalted) => {
    clearTimeout(timer);
    timer = isHalted ? 0 : setTimeout(next, durations[index]);
    button.textContent = isHalted ? "Play" : "Pause";
  };
  button.addEventListener("click", () => halt(timer !== 0));
  button.hidden = false;
  halt(matchMedia("(prefers-reduced-motion: reduce)").matches);
}
