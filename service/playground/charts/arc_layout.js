/** Places of a dependency tree: words in a row, arcs above them so high that no two lie on each other. */

const GAP = 14;
const LABEL_ROOM = 20;
const LEG_STEP = 7;

/**
 * Arc from a head to a dependent; the one from the root has no head.
 * @typedef {{head: number|null, dependent: number, label: string, level: number, left: number, right: number,
 *   isLeftward: boolean}} Arc `left` and `right` are the places of its legs; `isLeftward`: the dependent is on the left
 */

/**
 * @param {{head: number|null, relation: string}[]} tokens
 * @param {number[]} wordWidths of each word with its tag
 * @param {(label: string) => number} labelWidth
 * @returns {{arcs: Arc[], centres: number[], width: number, numLevels: number}} arcs in the order of their dependents
 */
export function arcLayout(tokens, wordWidths, labelWidth) {
  const arcs = tokens.map(({ head, relation }, dependent) => ({ head, dependent, label: relation }));
  giveLevels(arcs);
  const legs = legsOf(arcs, tokens.length);
  const room = wordWidths.map((width, word) => Math.max(width, legs.counts[word] * LEG_STEP));
  const centres = centresOf(arcs, legs.offsets, room, labelWidth);
  for (const arc of arcs) {
    const ends = [arc.head ?? arc.dependent, arc.dependent].map((word) => centres[word] + legs.offsets.get(arc)[word]);
    arc.left = Math.min(...ends);
    arc.right = Math.max(...ends);
    arc.isLeftward = arc.head !== null && arc.dependent < arc.head;
  }
  const root = arcs.find(({ head }) => head === null);
  const rootEnd = root ? root.left + labelWidth(root.label) / 2 : 0;
  const width = Math.max(centres.at(-1) + room.at(-1) / 2, rootEnd) + GAP / 2;
  return { arcs, centres, width, numLevels: Math.max(...arcs.map(({ level }) => level)) + 1 };
}

const spanOf = ({ head, dependent }) => [Math.min(head ?? dependent, dependent), Math.max(head ?? dependent, dependent)];

/** The shortest arcs lie lowest, each other one above all that it overlaps, and that of the root above its word's. */
function giveLevels(arcs) {
  const length = (arc) => spanOf(arc)[1] - spanOf(arc)[0];
  const placed = [];
  for (const arc of arcs.filter(({ head }) => head !== null).sort((one, other) => length(one) - length(other))) {
    const [left, right] = spanOf(arc);
    arc.level = 1 + highest(placed, ([first, last]) => first < right && left < last);
    placed.push(arc);
  }
  for (const arc of arcs.filter(({ head }) => head === null))
    arc.level = 1 + highest(placed, ([first, last]) => first <= arc.dependent && arc.dependent <= last);
}

function highest(arcs, isWanted) {
  let level = -1;
  for (const arc of arcs) if (arc.level > level && isWanted(spanOf(arc))) level = arc.level;
  return level;
}

/** Where arcs stand on their words: those to the left, the longer the more inward, the root's, those to the right. */
function legsOf(arcs, numWords) {
  const ends = Array.from({ length: numWords }, () => []);
  for (const arc of arcs) {
    ends[arc.dependent].push([arc, (arc.head ?? arc.dependent) - arc.dependent]);
    if (arc.head !== null) ends[arc.head].push([arc, arc.dependent - arc.head]);
  }
  const offsets = new Map(arcs.map((arc) => [arc, {}]));
  ends.forEach((legs, word) => {
    legs.sort(([, one], [, other]) => Math.sign(one) - Math.sign(other) || other - one);
    legs.forEach(([arc], index) => (offsets.get(arc)[word] = (index - (legs.length - 1) / 2) * LEG_STEP));
  });
  return { offsets, counts: ends.map((legs) => legs.length) };
}

/** Centres of the words, from left to right, so far apart that words and labels have room. */
function centresOf(arcs, offsets, room, labelWidth) {
  const ending = room.map(() => []);
  for (const arc of arcs) if (arc.head !== null) ending[spanOf(arc)[1]].push(arc);
  const root = arcs.find(({ head, dependent }) => head === null && dependent === 0);
  const centres = [];
  room.forEach((width, word) => {
    const first = Math.max(width / 2, root ? labelWidth(root.label) / 2 : 0) + GAP / 2;
    let centre = word ? centres[word - 1] + (room[word - 1] + width) / 2 + GAP : first;
    for (const arc of ending[word]) {
      const start = spanOf(arc)[0];
      const left = centres[start] + offsets.get(arc)[start];
      centre = Math.max(centre, left + labelWidth(arc.label) + LABEL_ROOM - offsets.get(arc)[word]);
    }
    centres.push(centre);
  });
  return centres;
}
