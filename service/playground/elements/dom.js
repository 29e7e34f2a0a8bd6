/** Create DOM elements. Data becomes text nodes and attributes, never markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {string} tag
 * @param {Object<string, unknown>} [attributes] a function under `onclick` is an event listener; `--name` sets a CSS
 *   variable; false, null and undefined leave the attribute out
 * @param {...(Node|string|number|null)} children null is left out
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. @returns {SVGElement} */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) set(element, name, value);
  element.append(
    ...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))),
  );
  return element;
}

function set(element, name, value) {
  if (value === false || value === null || value === undefined) return;
  if (typeof value === "function") element.addEventListener(name.slice(2), value);
  else if (name.startsWith("--")) element.style.setProperty(name, String(value));
  else element.setAttribute(name, value === true ? "" : String(value));
}

/** Probability in percent, with one digit more near 0 and 100 %. */
export function percent(share) {
  if (share >= 0.9995 && share < 1) return "> 99.9 %";
  const hasDetail = (share > 0 && share < 0.0995) || (share > 0.99 && share < 1);
  return `${(share * 100).toFixed(hasDetail ? 1 : 0)} %`;
}

/** Milliseconds with three significant digits. */
export const milliseconds = (ms) => `${ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2)} ms`;
