/** Cursor over the steps of a chart, moved with the arrow keys or the pointer. */

const STEPS = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

export class StepCursor {
  #first = 0;
  #last = 0;
  at = 0;

  /**
   * @param {HTMLElement} surface becomes a stop of the Tab key
   * @param {(step: number) => string} onMove shows a step, and says it in words
   */
  constructor(surface, onMove) {
    this.surface = surface;
    this.onMove = onMove;
    surface.tabIndex = 0;
    surface.setAttribute("role", "slider");
    surface.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** @param {string} name for a screen reader */
  range(name, first, last, at) {
    [this.#first, this.#last] = [first, last];
    const { surface } = this;
    surface.setAttribute("aria-label", name);
    surface.setAttribute("aria-valuemin", first);
    surface.setAttribute("aria-valuemax", last);
    this.moveTo(at);
  }

  /** Nearest valid step. */
  moveTo(number) {
    this.at = Math.min(Math.max(Math.round(number), this.#first), this.#last);
    this.surface.setAttribute("aria-valuenow", this.at);
    this.surface.setAttribute("aria-valuetext", this.onMove(this.at));
  }

  #onKey(event) {
    const { key, ctrlKey, altKey, metaKey } = event;
    if (ctrlKey || altKey || metaKey) return;
    const ends = { Home: this.#first, End: this.#last };
    const target = key in STEPS ? this.at + STEPS[key] : ends[key];
    if (target === undefined) return;
    event.preventDefault();
    this.moveTo(target);
  }
}
