/** Traffic of the service between two scrapes of its metrics. */

import { quantile, samplesOf } from "./metrics_text.js";

const REQUESTS = "unroll_requests_total";
const DURATION = "unroll_request_duration_seconds_bucket";
const BATCH_SUM = "unroll_batch_size_sum";
const BATCH_COUNT = "unroll_batch_size_count";
const COMPUTED = "unroll_computed_tokens_total";
const PADDED = "unroll_padded_tokens_total";
const NAMES = new Set([REQUESTS, DURATION, BATCH_SUM, BATCH_COUNT, COMPUTED, PADDED]);

/**
 * Counters, summed over all models.
 * @typedef {{atMs: number, totals: Object<string, number>, buckets: Map<number, number>}} Reading
 *
 * @param {string} text of `/metrics`
 * @param {number} atMs
 * @returns {Reading}
 */
export function readingOf(text, atMs) {
  const totals = Object.fromEntries([...NAMES].map((name) => [name, 0]));
  const buckets = new Map();
  for (const { name, labels, value } of samplesOf(text, NAMES)) {
    totals[name] += value;
    if (name === DURATION) addTo(buckets, labels.le === "+Inf" ? Infinity : Number(labels.le), value);
  }
  return { atMs, totals, buckets };
}

const addTo = (counts, key, value) => counts.set(key, (counts.get(key) ?? 0) + value);

/**
 * @typedef {{requestsPerS: number, p50Ms: number|null, p95Ms: number|null, batchSize: number|null,
 *   usefulShare: number|null}} Traffic
 *
 * @param {Reading} before
 * @param {Reading} after
 * @returns {Traffic|null} null if the service restarted in between
 */
export function trafficBetween(before, after) {
  const change = (name) => after.totals[name] - before.totals[name];
  if ([...NAMES].some((name) => change(name) < 0)) return null;
  const buckets = [...after.buckets].map(([bound, count]) => [bound, count - (before.buckets.get(bound) ?? 0)]);
  buckets.sort(([one], [other]) => one - other);
  return {
    requestsPerS: change(REQUESTS) / ((after.atMs - before.atMs) / 1000),
    p50Ms: inMs(quantile(0.5, buckets)),
    p95Ms: inMs(quantile(0.95, buckets)),
    batchSize: ratio(change(BATCH_SUM), change(BATCH_COUNT)),
    usefulShare: ratio(change(COMPUTED) - change(PADDED), change(COMPUTED)),
  };
}

const inMs = (seconds) => (seconds === null ? null : seconds * 1000);
const ratio = (part, whole) => (whole ? part / whole : null);
