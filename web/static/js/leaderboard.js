/** Who bought first, kept up to date while the sale moves. */

import { call, Refusal, Unreachable } from "./api.js";
import { make, setHidden } from "./dom.js";
import { count, time } from "./format.js";

const SHOWN = 10;
// Thousands may look on while a sale moves, and buying comes first: who bought themselves is shown at once, the others
// within some seconds.
const EVERY_MS = 8_000;
const SOON_MS = 400;
// The server's first page may be a second old.
const ONCE_MORE_MS = 1_500;

export class Leaderboard {
  #path;
  #table;
  #nobody;
  #due = 0;
  #shown = "";

  constructor(saleId) {
    this.#path = `/api/flash-sales/${saleId}/leaderboard?limit=${SHOWN}`;
    this.#table = document.querySelector("[data-leaderboard]");
    this.#nobody = document.querySelector("[data-nobody]");
  }

  /** Something was bought, or may have been. */
  refresh() {
    // Not every page at the same moment.
    this.#readWithin(EVERY_MS * (0.5 + Math.random() * 0.5));
  }

  /** This buyer has bought something. */
  refreshSoon() {
    clearTimeout(this.#due);
    this.#due = 0;
    this.#readWithin(SOON_MS);
    setTimeout(() => this.#readWithin(0), SOON_MS + ONCE_MORE_MS);
  }

  #readWithin(milliseconds) {
    if (this.#table && !this.#due) {
      this.#due = setTimeout(() => this.#read(), milliseconds);
    }
  }

  async #read() {
    this.#due = 0;
    try {
      const { data } = await call("GET", this.#path);
      this.#write(data);
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof Unreachable)) {
        throw error;
      }
    }
  }

  #write(rows) {
    const shown = JSON.stringify(rows);
    if (shown === this.#shown) {
      return;
    }
    this.#shown = shown;
    this.#table.tBodies[0].replaceChildren(...rows.map(row));
    setHidden(this.#table, rows.length === 0);
    setHidden(this.#nobody, rows.length > 0);
  }
}

function row(place) {
  const name = place.isYou ? make("strong", {}, "You") : place.name ?? "…";
  const cells = [count(place.position), name, count(place.quantity), time(place.purchasedAt)];
  return make("tr", {}, ...cells.map((cell) => make("td", {}, cell)));
}
