/** Errors of the service, shown at the controls that they are about. */

import { el } from "../elements/dom.js";
import { Refused } from "../requests/api.js";

/**
 * Show each message at its control. Messages without a control are returned as an alert.
 * @param {Error} error
 * @param {(field: string) => HTMLElement|null} controlOf the control for a path such as `parameters.top_k`
 * @returns {HTMLElement|null}
 */
export function showRefusal(error, controlOf) {
  if (!(error instanceof Refused)) return alertFor(error.message, []);
  const homeless = error.detail.filter(({ field, message }) => {
    const control = controlOf(field);
    if (control) markControl(control, `${placeOf(field)}${message}`);
    return !control;
  });
  if (error.detail.length && !homeless.length) return null;
  return alertFor(error.message, error.reasons, error.status);
}

/** Remove all error messages. @param {HTMLElement} form */
export function clearRefusal(form) {
  form.querySelectorAll(".field-error").forEach((message) => message.remove());
  form.querySelectorAll("[aria-invalid]").forEach((control) => {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-errormessage");
  });
}

/** Show a message under a control, below earlier ones. */
export function markControl(control, sentence) {
  const id = `${control.id}-error`;
  control.setAttribute("aria-invalid", "true");
  control.setAttribute("aria-errormessage", id);
  const place = control.closest(".field");
  const before = place.querySelector(".field-error");
  if (before) before.append(el("br"), sentence);
  else place.append(el("p", { class: "field-error", id, role: "alert" }, sentence));
}

/** `inputs.2` is the third text. */
function placeOf(field) {
  const index = /^inputs\.(\d+)/.exec(field)?.[1];
  return index === undefined ? "" : `Text ${Number(index) + 1}: `;
}

function alertFor(sentence, reasons, status = 0) {
  const list = reasons.length ? el("ul", {}, ...reasons.map((reason) => el("li", {}, reason))) : null;
  const code = status ? el("span", { class: "status-code" }, status) : null;
  return el("div", { class: "alert", role: "alert" }, el("p", {}, code, sentence), list);
}
