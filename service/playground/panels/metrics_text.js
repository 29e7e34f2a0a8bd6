/** Parser for counters and histograms in the Prometheus text format. */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*?)\})?\s(\S+)(?:\s.*)?$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

/**
 * @param {string} text
 * @param {Set<string>} names of the series to return
 * @returns {{name: string, labels: Object<string, string>, value: number}[]}
 */
export function samplesOf(text, names) {
  const lines = text.split("\n").filter((line) => names.has(line.split(/[{ ]/, 1)[0]));
  return lines.map((line) => sampleOf(line)).filter((sample) => sample !== null);
}

function sampleOf(line) {
  const match = LINE.exec(line);
  if (!match) return null;
  return { name: match[1], labels: labelsOf(match[2] ?? ""), value: numberOf(match[3]) };
}

function labelsOf(text) {
  const pairs = [...text.matchAll(LABEL)];
  return Object.fromEntries(
    pairs.map(([, name, value]) => [name, value.replace(/\\[n"\\]/g, (escape) => ESCAPES[escape])]),
  );
}

const numberOf = (text) => (text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));

/**
 * Estimate a quantile as Prometheus does: linear inside a bucket; the last finite bound for values above it.
 * @param {number} share of the observations that lie below, 0 to 1
 * @param {[number, number][]} buckets upper bound and cumulative count, ascending
 * @returns {number|null} null without observations
 */
export function quantile(share, buckets) {
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!total) return null;
  const rank = share * total;
  const index = buckets.findIndex(([, count]) => count >= rank);
  const [bound, count] = buckets[index];
  const [lower, below] = index ? buckets[index - 1] : [0, 0];
  if (bound === Infinity) return lower;
  return count === below ? bound : lower + ((bound - lower) * (rank - below)) / (count - below);
}
