/** Traffic of the service between two readings of its counters. */

const COUNTERS = ["requests", "batches", "batched_inputs", "computed_tokens", "padded_tokens"];

/**
 * Counters since the start of the service, summed over all models.
 * @typedef {{atMs: number, counts: Object<string, number>, buckets: [number, number][]}} Reading `buckets` are pairs of
 *   upper bound in seconds and cumulative count, ascending
 *
 * @param {object} body of `GET /playground-traffic`
 * @param {number} atMs
 * @returns {Reading}
 */
export const readingOf = ({ durations, ...counts }, atMs) => ({
  atMs,
  counts,
  buckets: durations.map(([bound, count]) => [bound ?? Infinity, count]),
});

/**
 * @typedef {{requestsPerS: number, p50Ms: number|null, p95Ms: number|null, batchSize: number|null,
 *   usefulShare: number|null}} Traffic
 *
 * @param {Reading} before
 * @param {Reading} after
 * @returns {Traffic|null} null if the service restarted in between
 */
export function trafficBetween(before, after) {
  const change = (name) => after.counts[name] - before.counts[name];
  if (COUNTERS.some((name) => change(name) < 0)) return null;
  const old = new Map(before.buckets);
  const buckets = after.buckets.map(([bound, count]) => [bound, count - (old.get(bound) ?? 0)]);
  return {
    requestsPerS: change("requests") / ((after.atMs - before.atMs) / 1000),
    p50Ms: inMs(quantile(0.5, buckets)),
    p95Ms: inMs(quantile(0.95, buckets)),
    batchSize: ratio(change("batched_inputs"), change("batches")),
    usefulShare: ratio(change("computed_tokens") - change("padded_tokens"), change("computed_tokens")),
  };
}

const inMs = (seconds) => (seconds === null ? null : seconds * 1000);
const ratio = (part, whole) => (whole ? part / whole : null);

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
