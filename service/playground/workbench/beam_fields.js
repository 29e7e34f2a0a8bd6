/** Beam search parameters of translation, captioning and video. */

const MAX_BEAMS = 8;

/** @param {object} model @returns {import("./fields.js").Field[]} */
export function beamFields({ options }) {
  return [
    {
      name: "num_beams",
      label: "Beams",
      kind: "slider",
      min: 1,
      max: MAX_BEAMS,
      value: Math.min(options?.num_beams ?? 1, MAX_BEAMS),
      hint: "hypotheses kept at each step; 1 is greedy",
    },
    {
      name: "length_penalty",
      label: "Length penalty",
      kind: "slider",
      min: 0,
      max: 4,
      step: 0.1,
      value: options?.length_penalty ?? 1,
      hint: "higher values favour longer texts",
    },
  ];
}
