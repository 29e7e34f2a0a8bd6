/** Form for the API key, shown where the service asks for one. */

import { el } from "../elements/dom.js";
import { apiKey, keepApiKey } from "../requests/api_key.js";

/**
 * @param {HTMLElement} place
 * @param {string} reason why the service wants a key
 * @param {() => void} onChange called when a key has been given
 */
export function askForKey(place, reason, onChange) {
  const input = el("input", {
    id: "api-key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "api-key-reason",
  });
  const submit = (event) => {
    event.preventDefault();
    keepApiKey(input.value.trim());
    onChange();
  };
  const form = el(
    "form",
    { class: "key-form", onsubmit: submit },
    el("p", { id: "api-key-reason", class: "alert", role: "alert" }, reason),
    el("div", { class: "field" }, el("label", { for: "api-key" }, "API key"), input),
    el("button", { class: "run", type: "submit" }, "Use this key"),
    el("p", { class: "hint" }, "It is kept in this tab until you close it, and sent to this service only."),
  );
  place.replaceChildren(form);
  input.focus();
}

/** Make `button` forget the key; it is hidden while there is none. */
export function installForgetButton(button, onChange) {
  button.hidden = !apiKey();
  button.addEventListener("click", () => {
    keepApiKey("");
    onChange();
  });
}
