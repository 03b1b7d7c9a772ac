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
    this.startsAt = Date.parse(sale.startTime);
    this.endsAt = sale.endTime ? Date.parse(sale.endTime) : null;
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
      if (data.state) {
        // The first word after joining says everything that changes.
        this.isPaused = data.paused;
        this.isOver = data.state === "ended" || data.state === "cancelled";
        this.endReason = this.isOver ? this.endReason : null;
        this.settledThrough = data.settledThrough;
      }
    } else if (event === "lineMoved") {
      this.settledThrough = data.settledThrough;
    } else if (event === "flashSaleStarted") {
      // Brought forward, perhaps; at any rate it has begun.
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

  /** upcoming, live, paused or over, at this time of the server's. */
  phase(now) {
    if (this.isOver || (this.endsAt !== null && this.endsAt <= now)) {
      return "over";
    }
    if (this.isPaused) {
      return "paused";
    }
    return now < this.startsAt ? "upcoming" : "live";
  }

  /** Tickets still ahead of this one. */
  ahead(ticket) {
    return Math.max(0, ticket - this.settledThrough - 1);
  }
}
