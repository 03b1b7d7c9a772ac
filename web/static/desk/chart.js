/** Rates out of totals, and a line that moves to the left once a second. */

const POINTS = 120;
const HEIGHT = 40;

/** From totals that only grow, each with the server's time, to what came a second between two of them. */
export class Rates {
  #last = null;

  /** {name: a second} since the last call, or null where there is nothing to compare with. */
  since(totals, atMs) {
    const last = this.#last;
    if (last && atMs <= last.atMs) {
      return null;
    }
    this.#last = { totals, atMs };
    if (!last) {
      return null;
    }
    const seconds = (atMs - last.atMs) / 1000;
    // What was refunded or forgotten goes down; a rate does not.
    const rate = ([name, total]) => [name, Math.max(0, total - last.totals[name]) / seconds];
    return Object.fromEntries(Object.entries(totals).map(rate));
  }

  forget() {
    this.#last = null;
  }
}

export class Chart {
  #values = [];
  #element;

  constructor(element) {
    this.#element = element;
    this.name = element.dataset.chart;
  }

  add(value) {
    this.#values = [...this.#values, value].slice(-POINTS);
    const most = Math.max(1, ...this.#values);
    const start = POINTS - this.#values.length;
    const points = this.#values.map((each, index) => `${start + index + 1},${(HEIGHT - (each / most) * (HEIGHT - 2)).toFixed(1)}`);
    const find = (selector) => this.#element.querySelector(selector);
    find(".stroke").setAttribute("points", points.join(" "));
    find(".area").setAttribute("points", `${start + 1},${HEIGHT} ${points.join(" ")} ${POINTS},${HEIGHT}`);
    find("[data-rate]").textContent = shown(value);
    find("[data-most]").textContent = `max ${shown(Math.max(...this.#values))}`;
  }
}

function shown(value) {
  return value < 10 && value > 0 ? value.toFixed(1) : String(Math.round(value));
}
