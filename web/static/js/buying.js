/**
 * One request at a time, from the button to its outcome: into the line at the first millisecond, sent again with the
 * same key until there is an answer, then waited for.
 *
 * `show(stage)` gets {stage, intent, …}: ready (waits for the start), sending, unreachable, queued, refused {message},
 * settled {purchase}.
 */

import { call, Refusal, Unreachable } from "./api.js";
import { sleep } from "./dom.js";
import { newIntent } from "./intent.js";

const PATHS = { purchase: "purchases", reservation: "reservations" };
const RETRY_MS = 40;
const RETRY_MS_MAX = 4_000;
const RETRY_OFFLINE_MS = 500;
// How long the socket is trusted to bring the outcome before it is asked for.
const TRUST_MS = 3_000;
const LONG_POLL_SECONDS = 15;
const POLL_MS_MIN = 500;

export class Buying {
  intent = null;
  #sale;
  #clock;
  #store;
  #isLive;
  #show;
  #withdrawn = false;
  #settle = null;

  constructor({ sale, clock, store, isLive, show }) {
    this.#sale = sale;
    this.#clock = clock;
    this.#store = store;
    this.#isLive = isLive;
    this.#show = show;
  }

  begin(kind, quantity) {
    if (this.intent) {
      return;
    }
    this.#start(newIntent(kind, quantity));
  }

  /** Go on with what a reload interrupted. */
  resume() {
    const intent = this.#store.load();
    if (intent && !this.intent) {
      this.#start(intent);
    }
  }

  /** Only while it waits for the start: what was sent cannot be called back. */
  withdraw() {
    this.#withdrawn = true;
  }

  /** A word over the socket about a purchase that may be ours. */
  hear(purchase) {
    if (this.intent && this.intent.purchaseId === purchase.purchaseId && purchase.status !== "queued") {
      this.#settle?.(purchase);
    }
  }

  #start(intent) {
    this.intent = intent;
    this.#withdrawn = false;
    this.#store.save(intent);
    this.#run(intent);
  }

  #end(stage) {
    this.intent = null;
    this.#show(stage);
    this.#store.clear();
  }

  async #run(intent) {
    try {
      const purchase = intent.purchaseId ? null : await this.#enterLine(intent);
      if (purchase && purchase.status !== "queued") {
        this.#end({ stage: "settled", intent, purchase });
        return;
      }
      const outcome = await this.#outcome(intent);
      this.#end({ stage: "settled", intent, purchase: outcome });
    } catch (error) {
      if (!(error instanceof Refusal)) {
        throw error;
      }
      if (error.status === 401) {
        // The intent stays: it goes on when the buyer is back.
        location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
      } else if (error.data?.purchaseId) {
        this.#end({ stage: "settled", intent, purchase: error.data });
      } else {
        this.#end({ stage: "refused", intent, message: error.message, code: error.code });
      }
    }
  }

  /** The purchase as it was answered: in line, or settled already. Throws Refusal where there is no place for it. */
  async #enterLine(intent) {
    const path = `/api/flash-sales/${this.#sale.id}/${PATHS[intent.kind]}`;
    const headers = { "Idempotency-Key": intent.key };
    for (let tries = 0; ; tries += 1) {
      await this.#untilStart(intent);
      this.#show({ stage: "sending", intent });
      try {
        const { data } = await call("POST", path, { body: { quantity: intent.quantity }, headers });
        Object.assign(intent, { purchaseId: data.purchaseId, ticket: data.ticket });
        this.#store.save(intent);
        this.#show({ stage: "queued", intent });
        return data;
      } catch (error) {
        await this.#pause(error, intent, tries);
      }
    }
  }

  async #untilStart(intent) {
    // Our idea of the server's clock is never ahead of it (clock.js), so this is rarely refused as too early.
    const left = () => this.#sale.startsAt - this.#clock.now();
    while (left() > 0) {
      this.#show({ stage: "ready", intent });
      // In short steps: the clock may be corrected, the start moved, and a long timer drifts.
      await sleep(Math.min(left(), 250));
      if (this.#withdrawn) {
        throw new Refusal(409, { code: "WITHDRAWN", message: "Nothing was sent." });
      }
    }
  }

  /** Wait until it makes sense to send again; throws what does not get better by waiting. */
  async #pause(error, intent, tries) {
    const growing = Math.min(RETRY_MS * 1.6 ** tries, RETRY_MS_MAX);
    if (error instanceof Unreachable) {
      this.#show({ stage: "unreachable", intent });
      await sleep(RETRY_OFFLINE_MS + Math.random() * RETRY_OFFLINE_MS);
    } else if (error instanceof Refusal && error.code === "NOT_STARTED") {
      // Put off since the page was loaded, or a matter of milliseconds.
      this.#sale.startsAt = Date.parse(error.data?.startsAt) || this.#sale.startsAt;
      await sleep(growing * (0.5 + Math.random()));
    } else if (error instanceof Refusal && (error.status === 429 || error.status >= 500)) {
      await sleep(error.retryAfterSeconds * 1000 * (1 + Math.random() / 2));
    } else {
      throw error;
    }
  }

  async #outcome(intent) {
    let settled = null;
    const told = new Promise((resolve) => {
      this.#settle = (purchase) => {
        settled = purchase;
        resolve();
      };
    });
    this.#show({ stage: "queued", intent });
    while (!settled) {
      if (this.#isLive()) {
        await Promise.race([told, sleep(TRUST_MS)]);
      }
      if (!settled) {
        await this.#look(intent, told);
      }
    }
    this.#settle = null;
    return settled;
  }

  async #look(intent, told) {
    const wait = this.#isLive() ? 0 : LONG_POLL_SECONDS;
    const path = `/api/purchases/${intent.purchaseId}?wait=${wait}`;
    try {
      const { data } = await call("GET", path, { timeoutSeconds: LONG_POLL_SECONDS + 10 });
      if (data.status !== "queued") {
        this.#settle?.(data);
        return;
      }
      this.#show({ stage: "queued", intent, ahead: data.position });
    } catch (error) {
      if (error instanceof Refusal && error.status < 500 && error.status !== 429) {
        throw error;
      }
    }
    // The server may decline to wait.
    await Promise.race([told, sleep(POLL_MS_MIN)]);
  }
}
