/**
 * What happens in a sale, as it happens: over the WebSocket, which comes back by itself and misses nothing, or by asking
 * every two seconds where there is none.
 *
 * `hear(event, data)` gets the server's events, and `sale` with a whole sale. `changed(state)` gets
 *   connecting, live: the socket is there;  polling: it is not, but the server is;  offline: nothing is.
 */

import { call, Refusal, Unreachable } from "./api.js";

const POLL_MS = 2_000;
const PAUSE_MS = 250;
const PAUSE_MS_MAX = 8_000;
const OPEN_MS_MAX = 8_000;
// A socket that says nothing for so long is asked whether it is still there.
const SILENCE_MS = 45_000;
const ANSWER_MS = 8_000;
// Failures in a row after which asking begins; the socket is tried again all the same.
const FAILURES_BEFORE_POLLING = 3;

export class Feed {
  state = "connecting";
  #url;
  #seqs;
  #signedIn;
  #hear;
  #changed;
  #socket = null;
  #failures = 0;
  #timer = 0;
  #watch = 0;
  #polling = 0;

  /** `sales`: [{id, seq}], what the page shows already. */
  constructor({ url, sales, signedIn, hear, changed }) {
    this.#url = url;
    this.#seqs = new Map(sales.map((sale) => [sale.id, sale.seq]));
    this.#signedIn = signedIn;
    this.#hear = hear;
    this.#changed = changed;
  }

  start() {
    window.addEventListener("offline", () => this.#lose());
    window.addEventListener("online", () => this.#again());
    // A page that slept may hold a socket that is long gone.
    document.addEventListener("visibilitychange", () => document.hidden || this.#again());
    window.addEventListener("pagehide", () => this.#hangUp());
    window.addEventListener("pageshow", (event) => event.persisted && this.#again());
    window.addEventListener("leaving", () => this.#rest());
    window.addEventListener("staying", () => this.#again());
    this.#open();
  }

  #say(state) {
    if (this.state !== state) {
      this.state = state;
      this.#changed(state);
    }
  }

  async #open() {
    clearTimeout(this.#timer);
    if (typeof WebSocket === "undefined") {
      this.#poll();
      return;
    }
    this.#watchFor(OPEN_MS_MAX);
    const socket = { close: () => {} };
    this.#socket = socket;
    try {
      const address = await this.#address();
      if (this.#socket === socket) {
        this.#listen(new WebSocket(address));
      }
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof Unreachable) && error.name !== "SecurityError") {
        throw error;
      }
      if (this.#socket === socket) {
        this.#lose(error instanceof Refusal);
      }
    }
  }

  /** With a ticket that is good once: a browser cannot send a header with a handshake, and an address is logged. */
  async #address() {
    if (!this.#signedIn) {
      return this.#url;
    }
    try {
      const { data } = await call("POST", "/api/ws-tickets");
      return `${this.#url}?ticket=${encodeURIComponent(data.ticket)}`;
    } catch (error) {
      if (error instanceof Refusal && error.status === 401) {
        return this.#url;
      }
      throw error;
    }
  }

  #listen(socket) {
    this.#socket = socket;
    const current = () => this.#socket === socket;
    socket.addEventListener("open", () => current() && this.#join());
    socket.addEventListener("message", (message) => current() && this.#obey(JSON.parse(message.data)));
    socket.addEventListener("close", () => current() && this.#lose());
  }

  #join() {
    for (const [id, seq] of this.#seqs) {
      // One before the last, since what belongs to one change comes in several events.
      const data = { flashSaleId: id, since: Math.max(0, seq - 1) };
      this.#socket.send(JSON.stringify({ event: "joinFlashSale", data }));
    }
  }

  #obey({ event, data }) {
    this.#failures = 0;
    clearTimeout(this.#polling);
    this.#polling = 0;
    this.#say("live");
    this.#watchFor(SILENCE_MS);
    if (event === "error") {
      if (data.code === "TOKEN_EXPIRED") {
        // The server closes it; nothing is wrong with the network, so the next one, with the next token, opens at once.
        this.#drop();
        this.#open();
      }
      return;
    }
    if (data.seq > (this.#seqs.get(data.flashSaleId) ?? Infinity)) {
      this.#seqs.set(data.flashSaleId, data.seq);
    }
    this.#hear(event, data);
    if (event === "eventsMissed") {
      this.#ask();
    }
  }

  /** Unless a word comes within so long, ask for one; unless an answer comes, begin anew. */
  #watchFor(milliseconds) {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      if (this.#socket?.readyState === 1 && milliseconds === SILENCE_MS) {
        this.#watchFor(ANSWER_MS);
        this.#join();
      } else {
        this.#lose();
      }
    }, milliseconds);
  }

  /** The socket is gone, or never came. `isReachable`: the server itself has answered. */
  #lose(isReachable = false) {
    this.#drop();
    this.#failures += 1;
    if (!isReachable && this.state !== "polling") {
      this.#say("offline");
    }
    if (this.#failures >= FAILURES_BEFORE_POLLING || isReachable) {
      this.#poll();
    }
    const pause = Math.min(PAUSE_MS * 2 ** this.#failures, PAUSE_MS_MAX);
    clearTimeout(this.#timer);
    // Not all at once: everybody lost it at the same moment.
    this.#timer = setTimeout(() => this.#open(), pause * (0.5 + Math.random()));
  }

  /** Nothing more until `#again`. */
  #rest() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    clearTimeout(this.#polling);
    this.#polling = 0;
    this.#hangUp();
    this.#socket = null;
  }

  /** One that is still on its way is the browser's to end, which says nothing; whoever closes it is told off for it. */
  #hangUp() {
    if (this.#socket?.readyState === 1) {
      this.#socket.close();
    }
  }

  #again() {
    if (this.state === "live" && this.#socket?.readyState === 1) {
      this.#watchFor(ANSWER_MS);
      this.#join();
      return;
    }
    this.#drop();
    this.#failures = 0;
    this.#open();
  }

  #drop() {
    clearTimeout(this.#watch);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #poll() {
    if (this.#polling) {
      return;
    }
    const round = async () => {
      const reached = await this.#ask();
      if (!this.#polling) {
        return;
      }
      this.#say(reached ? "polling" : "offline");
      this.#polling = setTimeout(round, POLL_MS * (0.8 + Math.random() * 0.4));
    };
    this.#polling = setTimeout(round, 0);
  }

  /** Whether the server answered. */
  async #ask() {
    try {
      for (const id of this.#seqs.keys()) {
        const answer = await call("GET", `/api/flash-sales/${id}`);
        this.#seqs.set(id, Math.max(this.#seqs.get(id), answer.data.seq));
        this.#hear("sale", { ...answer.data, flashSaleId: id, answer });
      }
      return true;
    } catch (error) {
      if (error instanceof Refusal) {
        return true;
      }
      if (error instanceof Unreachable) {
        return false;
      }
      throw error;
    }
  }
}

/** Say above the page what is wrong with the connection, and nothing when nothing is. */
export function showConnection(state) {
  const line = document.getElementById("connection");
  const words = {
    offline: "No connection. This page comes back by itself and misses nothing.",
    polling: "There is no live connection here: this page asks every two seconds.",
  };
  line.textContent = words[state] ?? "";
  line.hidden = !(state in words);
}
