/** A sale as this page knows it: what the server told, in the order of its `seq`, and the server's clock. */

export class SaleState {
  /** `sale` as GET /api/flash-sales/{id} shows it. */
  constructor(sale) {
    this.id = sale.id;
    this.seq = 0;
    this.take(sale);
  }

  /** All of it at once. */
  take(sale) {
    if (sale.seq < this.seq) {
      return;
    }
    this.seq = sale.seq;
    this.#move({ startsAt: sale.startTime, endsAt: sale.endTime });
    this.total = sale.totalStock;
    this.remaining = sale.remainingStock;
    this.settledThrough = sale.settledThrough;
    this.isPaused = !sale.isActive && sale.state !== "cancelled";
    this.isOver = sale.state === "ended" || sale.state === "cancelled";
    this.endReason = sale.endReason;
  }

  /** One event of the feed. */
  hear(event, data) {
    if (data.seq < this.seq) {
      return;
    }
    this.seq = data.seq ?? this.seq;
    if (event === "stockUpdate") {
      this.remaining = data.availableUnits;
      this.total = data.totalUnits;
      if (data.state) {
        // The first word after joining says everything that changes.
        this.isPaused = data.paused;
        this.isOver = data.state === "ended" || data.state === "cancelled";
        this.endReason = this.isOver ? this.endReason : null;
        this.settledThrough = data.settledThrough;
        this.#move(data);
      }
    } else if (event === "lineMoved") {
      this.settledThrough = data.settledThrough;
    } else if (event === "flashSaleMoved") {
      this.#move(data);
    } else if (event === "flashSaleStarted") {
      // Whatever our idea of the server's clock: it has begun.
      this.startsAt = -Infinity;
      this.isOver = false;
      this.endReason = null;
    } else if (event === "flashSalePaused") {
      this.isPaused = true;
    } else if (event === "flashSaleResumed") {
      this.isPaused = false;
    } else if (event === "flashSaleEnded") {
      this.isOver = true;
      this.endReason = data.reason;
    }
  }

  #move({ startsAt, endsAt }) {
    this.startsAt = Date.parse(startsAt);
    this.endsAt = endsAt ? Date.parse(endsAt) : null;
  }

  /** upcoming, live, paused or over, at this time of the server's. What is held back before its start is upcoming. */
  phase(now) {
    if (this.isOver || (this.endsAt !== null && this.endsAt <= now)) {
      return "over";
    }
    if (now < this.startsAt) {
      return "upcoming";
    }
    return this.isPaused ? "paused" : "live";
  }

  /** Tickets still ahead of this one. */
  ahead(ticket) {
    return Math.max(0, ticket - this.settledThrough - 1);
  }
}
