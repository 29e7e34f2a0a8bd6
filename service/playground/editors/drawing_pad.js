/** Drawing pad for a series: one channel at a time, with the pointer or the arrow keys. */

import { figure, Plot, rangeAround } from "../charts/plot.js";
import { StepCursor } from "../charts/step_cursor.js";
import { el } from "../elements/dom.js";

/** Margin above and below the values, as a share of their range. */
const ROOM = 0.15;
const KEY_STEPS = { ArrowUp: 1 / 40, ArrowDown: -1 / 40 };
const DIGITS = 3;
/** Maximum number of lines shown together; with more channels only the chosen one is shown. */
const MAX_LINES = 6;
const HINT = "Draw over the line, or select a step with ← and → and change its value with ↑ and ↓.";

export class DrawingPad {
  #rows = [];
  #channel = 0;
  #range = [-1, 1];
  #last = null;

  /** @param {string[]} channels @param {(rows: number[][]) => void} onChange after each stroke */
  constructor(channels, onChange) {
    this.channels = channels;
    this.onChange = onChange;
    this.behind = channels.length > MAX_LINES ? [] : channels;
    const layers = this.behind.map(() => "plot-line is-behind");
    this.plot = new Plot({ xTitle: "step", layers: [...layers, "plot-line"] });
    this.cursor = new StepCursor(this.plot.surface, (step) => this.#tell(step));
    this.readout = el("p", { class: "readout", "aria-hidden": "true" });
    const hint = el("p", { class: "hint" }, HINT);
    this.element = el("div", { class: "drawing-pad" }, this.#choice(), this.plot.element, this.readout, hint);
    this.#listen();
  }

  /** @param {number[][]|null} rows null hides the pad */
  show(rows) {
    this.element.hidden = rows === null;
    if (rows === null) return;
    this.#rows = rows.map((row) => [...row]);
    this.#redraw();
  }

  #choice() {
    const options = this.channels.map((name, index) => el("option", { value: index }, name));
    const select = el("select", { id: "drawn-channel" }, ...options);
    select.addEventListener("change", () => {
      this.#channel = Number(select.value);
      this.#redraw();
    });
    const label = el("label", { for: select.id }, "Line");
    return el("p", { class: "drawn-channel", hidden: this.channels.length < 2 }, label, select);
  }

  #listen() {
    const { surface } = this.plot;
    surface.classList.add("is-drawable");
    surface.addEventListener("pointerdown", (event) => {
      surface.setPointerCapture(event.pointerId);
      this.#last = null;
      this.#drawTo(event);
    });
    surface.addEventListener("pointermove", (event) => {
      if (surface.hasPointerCapture(event.pointerId)) this.#drawTo(event);
    });
    surface.addEventListener("lostpointercapture", () => this.#finish());
    surface.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Interpolate steps that a fast pointer skips. */
  #drawTo(event) {
    const { x, y } = this.plot.placeOf(event);
    const to = [Math.round(x), y];
    const from = this.#last ?? to;
    const num = Math.abs(to[0] - from[0]);
    for (let part = 0; part <= num; part += 1) {
      const share = num ? part / num : 1;
      this.#set(Math.round(from[0] + (to[0] - from[0]) * share), from[1] + (to[1] - from[1]) * share);
    }
    this.#last = to;
    this.#drawChosen();
    this.cursor.moveTo(to[0]);
  }

  #onKey(event) {
    const share = KEY_STEPS[event.key];
    if (!share) return;
    event.preventDefault();
    const step = this.cursor.at;
    this.#set(step, this.#rows[step - 1][this.#channel] + share * (this.#range[1] - this.#range[0]));
    this.#finish();
  }

  #set(step, value) {
    const power = 10 ** Math.ceil(DIGITS - Math.log10(this.#range[1] - this.#range[0]));
    this.#rows[step - 1][this.#channel] = Math.round(value * power) / power;
  }

  #finish() {
    this.onChange(this.#rows);
    this.#redraw();
  }

  #redraw() {
    const channel = this.#channel;
    this.#range = rangeAround(this.#column(channel), ROOM);
    this.#drawLines();
    const at = Math.min(Math.max(this.cursor.at, 1), this.#rows.length);
    this.cursor.range(`Draw ${this.channels[channel]}`, 1, this.#rows.length, at);
  }

  #column = (channel) => this.#rows.map((row) => row[channel]);

  /** Other channels have scales of their own: the axis is that of the chosen one. */
  #drawLines() {
    const { plot } = this;
    const x = [1, Math.max(this.#rows.length, 2)];
    this.behind.forEach((_, channel) => {
      const values = channel === this.#channel ? [] : this.#column(channel);
      plot.scale({ x, y: rangeAround(values, ROOM), yTitle: "" });
      plot.line(channel, pointsOf(values));
    });
    plot.scale({ x, y: this.#range, yTitle: this.channels[this.#channel] });
    this.#drawChosen();
  }

  #drawChosen() {
    this.plot.line(this.plot.paths.length - 1, pointsOf(this.#column(this.#channel)));
  }

  #tell(step) {
    this.plot.cursorAt(step);
    const said = `step ${step} of ${this.#rows.length}: ${figure(this.#rows[step - 1][this.#channel])}`;
    this.readout.textContent = said;
    return said;
  }
}

const pointsOf = (values) => values.map((value, index) => [index + 1, value]);
