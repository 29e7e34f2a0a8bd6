/** Words that a model has copied: underlined in its text; pointing at one, or focusing it, marks where it is from. */

import { el } from "./dom.js";

/** Parts of a text: `[characters, index]`, where index is that of the place, or -1 between places. Code points, as in
 * Python. */
function partsOf(text, places) {
  const characters = Array.from(text);
  const parts = [];
  let end = 0;
  for (const { start, end: next, index } of places) {
    if (start < end) continue;
    if (start > end) parts.push([characters.slice(end, start).join(""), -1]);
    parts.push([characters.slice(start, next).join(""), index]);
    end = next;
  }
  if (end < characters.length) parts.push([characters.slice(end).join(""), -1]);
  return parts;
}

/**
 * The nodes of the input and of the text, with what was copied as elements, and a legend.
 *
 * @param {string} input
 * @param {{text: string, copied: {start: number, end: number, source_start: number, source_end: number}[]}} prediction
 * @returns {{source: Node[], written: Node[], legend: HTMLElement|null}}
 */
export function copiedWords(input, { text, copied }) {
  if (!copied.length) return { source: [new Text(input)], written: [new Text(text)], legend: null };
  const origins = copied
    .map(({ source_start, source_end }, index) => ({ start: source_start, end: source_end, index }))
    .sort((one, other) => one.start - other.start);
  const source = partsOf(input, origins).map(([part, index]) =>
    index < 0 ? new Text(part) : el("span", { class: "origin", "data-start": copied[index].source_start }, part),
  );
  const light = (index) => {
    for (const node of source) {
      if (!(node instanceof Element)) continue;
      node.classList.toggle("is-lit", index >= 0 && Number(node.dataset.start) === copied[index].source_start);
    }
  };
  const places = copied.map(({ start, end }, index) => ({ start, end, index }));
  const written = partsOf(text, places).map(([part, index]) =>
    index < 0
      ? new Text(part)
      : el(
          "span",
          {
            class: "copied",
            tabindex: 0,
            title: `copied from character ${copied[index].source_start + 1} of the input`,
            onpointerenter: () => light(index),
            onpointerleave: () => light(-1),
            onfocus: () => light(index),
            onblur: () => light(-1),
          },
          part,
        ),
  );
  const legend = el(
    "p",
    { class: "copied-legend" },
    el("span", { class: "copied" }, "underlined"),
    ": copied from the input; point at it to see where it stands",
  );
  return { source, written, legend };
}
