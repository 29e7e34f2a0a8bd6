/** Forecasting: past values, the forecast, and its prediction intervals. */

import { bandsOf, forecastChart } from "../charts/forecast_chart.js";
import { figure } from "../charts/plot.js";
import { seriesEditor } from "../editors/series.js";
import { seriesThumbnail } from "../editors/thumbnails.js";
import { el } from "../elements/dom.js";
import { predictionView } from "./prediction.js";

const INPUT = {
  editor: ({ options: { channels, look_back }, limits }) =>
    seriesEditor({
      channels,
      numSteps: look_back,
      hint: [
        `CSV or JSON, earliest step first, with the columns ${channels.join(", ")}.`,
        `The last ${look_back} steps are used; at most ${limits.max_input_tokens} are accepted.`,
      ].join(" "),
    }),
  nameOf: ({ frames }, index) => `Series ${index + 1}, ${frames.length} steps`,
  thumbnailOf: ({ frames }, { options: { channels, targets } }) =>
    seriesThumbnail(frames.map((frame) => frame[Math.max(channels.indexOf(targets?.[0]), 0)])),
};

/** Chart of one channel, with a selection if several are forecast. */
function show(prediction, { frames }, { options }) {
  const { channels } = prediction;
  const place = el("div");
  const draw = (index) =>
    place.replaceChildren(forecastChart(seriesOf(prediction, frames, options, index)), tableOf(prediction, index));
  const choices = channels.map((name, index) => el("option", { value: index }, name));
  const select = el("select", { "aria-label": "Forecast of", onchange: () => draw(Number(select.value)) }, ...choices);
  draw(0);
  const choice = el("p", { class: "drawn-channel", hidden: channels.length < 2 }, "Forecast of ", select);
  return el("div", { class: "forecast" }, choice, place);
}

/** Data of one channel for the chart. */
function seriesOf({ forecast, quantiles, channels }, frames, options, index) {
  const column = options.channels.indexOf(channels[index]);
  const bands = bandsOf(quantiles ?? {}).map(({ low, high, share }) => ({
    share,
    steps: forecast.map((_, step) => [quantiles[low][step][index], quantiles[high][step][index]]),
  }));
  return {
    name: channels[index],
    past: frames.slice(-options.look_back).map((frame) => frame[column]),
    forecast: forecast.map((step) => step[index]),
    bands,
    period: options.period ?? 0,
  };
}

function tableOf({ forecast, quantiles }, index) {
  const levels = Object.keys(quantiles ?? {}).sort((one, other) => one - other);
  const titles = ["step", "forecast", ...levels.map((level) => `${Math.round(level * 100)} % below`)];
  const rows = forecast.map((step, at) => {
    const values = [step[index], ...levels.map((level) => quantiles[level][at][index])];
    const cells = values.map((value) => el("td", {}, figure(value)));
    return el("tr", {}, el("th", { scope: "row" }, `+${at + 1}`), ...cells);
  });
  const head = el("tr", {}, ...titles.map((title) => el("th", { scope: "col" }, title)));
  const table = el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...rows));
  const region = { class: "table-frame", tabindex: 0, role: "region", "aria-label": "Forecast values" };
  const frame = el("div", region, table);
  return el("details", {}, el("summary", {}, "As a table"), frame);
}

export const forecasting = predictionView({ verb: "Forecast", input: INPUT, show });
