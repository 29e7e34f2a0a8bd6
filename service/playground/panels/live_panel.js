/** Live charts of the service's traffic, shown once there is some. Polling pauses while the page is hidden. */

import { lineChart } from "../charts/line_chart.js";
import { el, milliseconds, percent } from "../elements/dom.js";
import { getJson } from "../requests/api.js";
import { readingOf, trafficBetween } from "./traffic.js";

const EVERY_MS = 2000;
const NUM_POINTS = 60;

const number = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));

/** Charts: values of a `Traffic`, text for the newest point, unit. */
const CHARTS = [
  {
    title: "Requests",
    values: (traffic) => [traffic.requestsPerS],
    words: (traffic) => [`${number(traffic.requestsPerS)} per second`],
    unit: number,
  },
  {
    title: "Latency",
    values: (traffic) => [traffic.p50Ms, traffic.p95Ms],
    words: ({ p50Ms, p95Ms }) => (p50Ms === null ? [] : [`p50 ${milliseconds(p50Ms)}`, `p95 ${milliseconds(p95Ms)}`]),
    unit: milliseconds,
  },
  {
    title: "Batch fill",
    values: (traffic) => [traffic.batchSize],
    words: ({ batchSize, usefulShare }) => {
      if (batchSize === null) return [];
      const useful = usefulShare === null ? [] : [`${percent(1 - usefulShare)} padding`];
      return [`${number(batchSize)} per batch`, ...useful];
    },
    unit: number,
  },
];

/** Fill `section` and keep it up to date. */
export function installLivePanel(section) {
  const figures = CHARTS.map((chart) => figureFor(chart));
  const note = el("p", { class: "note" }, "All models, last two minutes.");
  section.append(...figures.map((figure) => figure.element), note);
  const history = [];
  let before = null;

  async function look() {
    const after = readingOf(await getJson("playground-traffic"), performance.now());
    const traffic = before && trafficBetween(before, after);
    before = after;
    if (!traffic) return;
    history.push(traffic);
    history.splice(0, history.length - NUM_POINTS);
    section.hidden = !history.some(({ requestsPerS }) => requestsPerS > 0);
    figures.forEach((figure) => figure.show(history));
  }

  everyFewSeconds(look, (isReachable) => section.classList.toggle("is-stale", !isReachable));
}

function figureFor({ title, values, words, unit }) {
  const chart = lineChart(title === "Latency" ? 2 : 1, NUM_POINTS);
  const reading = el("span", { class: "reading" }, "–");
  const peak = el("span", { class: "peak", "aria-hidden": "true" });
  const caption = el("figcaption", {}, el("span", { class: "title" }, title), reading);
  const show = (history) => {
    const said = words(history.at(-1));
    const parts = said.map((text, index) => el("span", { class: `value value-${index}` }, text));
    reading.replaceChildren(...(parts.length ? parts : ["idle"]));
    const top = chart.draw(history.map(values), `${title}: ${said.join(", ") || "no traffic"}`);
    peak.textContent = top > Number.MIN_VALUE ? `max ${unit(top)}` : "";
  };
  chart.draw([], title);
  return { element: el("figure", { class: "live-chart" }, caption, chart.element, peak), show };
}

/** Repeat `work`, except while the page is hidden. `report` is called with its success. */
function everyFewSeconds(work, report) {
  let timer = 0;
  async function round() {
    timer = 0;
    try {
      await work();
      report(true);
    } catch {
      report(false);
    }
    schedule(EVERY_MS);
  }
  function schedule(delayMs) {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(round, delayMs);
  }
  document.addEventListener("visibilitychange", () => schedule(0));
  schedule(0);
}
