/** Roving tabindex: one tab stop for a group, arrow keys move inside it. */

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

/**
 * @param {HTMLElement} container
 * @param {() => HTMLElement[]} items in their order, asked for at each key
 */
export function roveFocus(container, items) {
  const makeStop = (chosen) => items().forEach((item) => (item.tabIndex = item === chosen ? 0 : -1));
  makeStop(items().find((item) => item.tabIndex === 0) ?? items()[0]);
  container.addEventListener("focusin", ({ target }) => items().includes(target) && makeStop(target));
  container.addEventListener("keydown", (event) => {
    const next = nextOf(items(), document.activeElement, event);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}

function nextOf(items, current, { key, ctrlKey, altKey, metaKey }) {
  const index = items.indexOf(current);
  if (index < 0 || ctrlKey || altKey || metaKey) return null;
  if (key === "Home") return items[0];
  if (key === "End") return items.at(-1);
  return key in STEPS ? items[Math.min(Math.max(index + STEPS[key], 0), items.length - 1)] : null;
}
