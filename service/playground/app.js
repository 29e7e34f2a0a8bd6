/** Entry point of the page: model list, workbench of the chosen model, model facts and live metrics. */

import { el } from "./elements/dom.js";
import { askForKey, installForgetButton } from "./panels/key_form.js";
import { installLivePanel } from "./panels/live_panel.js";
import { showFacts } from "./panels/model_facts.js";
import { hashOf, showModelList } from "./panels/model_list.js";
import { installThemeButton } from "./panels/theme.js";
import { getJson } from "./requests/api.js";
import { viewOf } from "./views/catalogue.js";
import { openWorkbench } from "./workbench/workbench.js";

const WHILE_LOADING_MS = 1000;
const WHEN_UNREACHABLE_MS = 3000;

const place = Object.fromEntries(
  ["models", "work", "facts", "live", "readiness", "forget-key", "theme", "skip"].map((id) => [id, document.getElementById(id)]),
);

let models = [];
let timer = 0;
let opened = { key: "", hash: "", close: () => {} };

/** Fetch the list of models, and repeat while some are loading. */
async function refresh() {
  clearTimeout(timer);
  try {
    ({ models } = await getJson("models"));
    showLive();
    showReadiness();
    await openChosen();
    if (models.some(({ state }) => state === "loading") || !models.length) askAgainIn(WHILE_LOADING_MS);
  } catch (error) {
    if (error.status === 401) {
      wantKey(error.message);
      return;
    }
    place.readiness.textContent = "not reachable";
    if (!opened.key) place.work.replaceChildren(el("p", { class: "alert", role: "alert" }, error.message));
    askAgainIn(WHEN_UNREACHABLE_MS);
  }
}

let isLive = false;

/** Begin with the counters only now, which may need a key too. */
function showLive() {
  if (!isLive) installLivePanel(place.live);
  isLive = true;
}

/** The service answers nobody without a valid key: nothing else is shown until there is one. */
function wantKey(reason) {
  opened.close();
  opened = { key: "", hash: "", close: () => {} };
  models = [];
  place.models.replaceChildren();
  place.facts.hidden = true;
  place.readiness.textContent = "needs an API key";
  place["forget-key"].hidden = true;
  askForKey(place.work, reason, () => {
    place["forget-key"].hidden = false;
    refresh();
  });
}

function askAgainIn(delayMs) {
  clearTimeout(timer);
  timer = setTimeout(refresh, delayMs);
}

function showReadiness() {
  const numReady = models.filter(({ state }) => state === "ready").length;
  place.readiness.textContent = `${numReady} of ${models.length} models ready`;
  place.readiness.dataset.state = numReady === models.length && numReady ? "ready" : "not-ready";
}

/** Tasks whose answers explain themselves come first. */
const TASKS_TO_OPEN = [
  "tagging", "translation", "parsing", "classification", "generation", "forecasting", "captioning", "transcription",
];
const rankOf = ({ task }) => (TASKS_TO_OPEN.includes(task) ? TASKS_TO_OPEN.indexOf(task) : TASKS_TO_OPEN.length);

/** The model in the address, else the open one, else a ready one. */
function chosenModel() {
  const preferences = [
    (model) => hashOf(model) === location.hash,
    (model) => hashOf(model) === opened.hash,
    ({ state, is_default }) => state === "ready" && is_default,
    () => true,
  ];
  const ranked = models.toSorted((one, other) => rankOf(one) - rankOf(other));
  return preferences.map((matches) => ranked.find(matches)).find(Boolean);
}

async function openChosen() {
  const chosen = chosenModel();
  showModelList(place.models, models, chosen);
  if (!chosen) {
    place.work.replaceChildren(el("p", { class: "notice" }, "No models are available yet."));
    return;
  }
  const key = `${chosen.name} ${chosen.version} ${chosen.state}`;
  if (key === opened.key) return;
  opened.close();
  opened = { key, hash: hashOf(chosen), close: () => {} };
  try {
    const model = await getJson(
      `models/${encodeURIComponent(chosen.name)}?version=${encodeURIComponent(chosen.version)}`,
    );
    if (opened.key === key) show(model);
  } catch (error) {
    if (opened.key === key) opened.key = ""; // the next round tries again
    throw error;
  }
}

function show(model) {
  document.title = `${model.name} · Unroll`;
  const bench = openWorkbench(place.work, model, viewOf(model));
  opened.close = () => bench.close();
  showFacts(place.facts, model);
}

installThemeButton(place.theme);
installForgetButton(place["forget-key"], refresh);
addEventListener("hashchange", refresh);
place.skip.addEventListener("click", (event) => {
  event.preventDefault(); // keep the model in the address
  document.getElementById("input")?.focus();
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
refresh();
