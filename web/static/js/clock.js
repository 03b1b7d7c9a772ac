/**
 * The server's clock, in this page. The client's own clock is never asked: only how much time passes here
 * (performance.now), and what time the server said it was.
 */
export class ServerClock {
  #offset;

  /** From the time that stands in the page, which was written between the request for it and its arrival. */
  constructor(iso) {
    const page = performance.getEntriesByType("navigation")[0];
    const receivedAt = page?.responseEnd || performance.now();
    this.#offset = Date.parse(iso) - receivedAt;
    this.hear(iso, page?.requestStart || 0, receivedAt);
  }

  /** Milliseconds since the epoch. */
  now() {
    return performance.now() + this.#offset;
  }

  /**
   * The server wrote `iso` at some moment between these two (by performance.now). What we believed is moved only as far
   * as it must be to agree with that, so quick answers make it exact and slow ones do no harm. It begins as if an answer
   * took no time to arrive: behind the server's clock by the quickest way that was seen, and never ahead of it.
   */
  hear(iso, sentAt, receivedAt) {
    const server = Date.parse(iso);
    if (Number.isNaN(server)) {
      return;
    }
    const earliest = server - receivedAt;
    const latest = server - sentAt;
    this.#offset = Math.min(Math.max(this.#offset, earliest), latest);
  }

  /** A word that came by itself: it was written before it arrived, nobody knows how long before. */
  hearSince(iso, receivedAt) {
    this.hear(iso, receivedAt - 5_000, receivedAt);
  }
}
