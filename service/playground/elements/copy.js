/** A button that copies a text. */

import { el } from "./dom.js";

const COPIED_FOR_MS = 1500;

/**
 * @param {HTMLElement} source its text is copied; it is selected where the clipboard is not available, such as over
 *   plain HTTP
 * @param {{name?: string, className?: string, textOf?: () => string}} [options]
 */
export function copyButton(source, { name = "Copy", className = "quiet", textOf = () => source.textContent } = {}) {
  const button = el("button", { type: "button", class: className, onclick: () => copy() }, name);
  async function copy() {
    try {
      await navigator.clipboard.writeText(textOf());
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = name), COPIED_FOR_MS);
  }
  return button;
}
