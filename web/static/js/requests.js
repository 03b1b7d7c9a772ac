/** The list of one's own requests: what waits, what is on hold with its clock and its buttons, what came of the others. */

import { call, Refusal, Unreachable } from "./api.js";
import { isResting, make, setHidden, setResting, setText, sleep } from "./dom.js";
import { duration, money, time, units } from "./format.js";

const RETRY_MS = 1_000;
const RANKS = { queued: 0, reserved: 1, rejected: 2, expired: 2, cancelled: 2, confirmed: 2, refunded: 3 };
const REJECTIONS = {
  SOLD_OUT: "No units were left when it was your turn.",
  INSUFFICIENT_STOCK: "Fewer units were left than you asked for.",
  LIMIT_EXCEEDED: "That is more than one buyer may have.",
  ENDED: "The sale had ended.",
  PAUSED: "The sale was paused.",
};

export class RequestList {
  #list;
  #clock;
  #purchases = new Map();

  /** `list`: a <ul>; what the server wrote into it for a purchase is kept as its heading. */
  constructor(list, clock) {
    this.#list = list;
    this.#clock = clock;
    setInterval(() => this.#tick(), 200);
  }

  /** A purchase as the API shows it. What is older than what is shown changes nothing. */
  take(purchase) {
    const known = this.#purchases.get(purchase.purchaseId);
    if (known && RANKS[known.status] >= RANKS[purchase.status]) {
      return;
    }
    this.#purchases.set(purchase.purchaseId, purchase);
    const card = this.#card(purchase.purchaseId);
    card.dataset.status = purchase.status;
    const { title, text, isHold } = describe(purchase);
    setText(card.querySelector("[data-title]"), title);
    setText(card.querySelector("[data-text]"), text);
    setHidden(card.querySelector("[data-hold]"), !isHold);
    this.#tick();
  }

  /** The request that is on its way, by any name of its own; null takes it away. */
  showPending(words) {
    const name = "pending";
    if (!words) {
      this.#find(name)?.remove();
      return;
    }
    const isNew = !this.#find(name);
    const card = this.#card(name);
    card.dataset.status = "queued";
    setText(card.querySelector("[data-title]"), words.title);
    setText(card.querySelector("[data-text]"), words.text);
    let place = card.querySelector("[data-place]");
    if (!place) {
      // It moves ten times a second: to be seen, not to be read out.
      place = make("p", { className: "place", ariaLive: "off" });
      place.dataset.place = "";
      card.append(place);
    }
    setText(place, words.place ?? "");
    const button = card.querySelector("[data-withdraw]");
    if (words.withdraw && !button) {
      const made = make("button", { type: "button", className: "plain", onclick: words.withdraw }, "Do not send");
      made.dataset.withdraw = "";
      card.append(made);
    } else if (!words.withdraw) {
      button?.remove();
    }
    if (isNew) {
      // On a telephone it lies below the button.
      card.scrollIntoView({ block: "nearest" });
    }
  }

  #find(id) {
    return this.#list.querySelector(`[data-purchase="${CSS.escape(id)}"]`);
  }

  #card(id) {
    let card = this.#find(id);
    if (!card) {
      card = make("li", { className: "request card" });
      card.dataset.purchase = id;
      this.#list.prepend(card);
    }
    if (!card.querySelector("[data-title]")) {
      card.querySelector("[data-plain]")?.remove();
      const title = make("p", { className: "outcome" });
      title.dataset.title = "";
      const text = make("p");
      text.dataset.text = "";
      card.append(title, text, this.#holdControls(id));
    }
    return card;
  }

  #holdControls(id) {
    const clock = make("span", { className: "countdown" });
    clock.setAttribute("role", "timer");
    clock.dataset.clock = "";
    const problem = make("p", { className: "wrong" });
    problem.dataset.problem = "";
    const checkOut = make("button", { type: "button", className: "button" }, "Check out");
    const cancel = make("button", { type: "button", className: "button second" }, "Cancel");
    checkOut.addEventListener("click", () => this.#act(id, checkOut, "POST", `/api/purchases/${id}/checkout`));
    cancel.addEventListener("click", () => this.#act(id, cancel, "DELETE", `/api/purchases/${id}`));
    const controls = make("div", { className: "hold", hidden: true });
    controls.dataset.hold = "";
    controls.append(make("p", {}, "Held for you for ", clock), make("p", { className: "row" }, checkOut, cancel), problem);
    return controls;
  }

  /** Until it is known what came of it. The key is the hold's own: checked out twice, it is paid once. */
  async #act(id, button, method, path) {
    const card = this.#card(id);
    const buttons = card.querySelectorAll("[data-hold] button");
    if (isResting(button)) {
      return;
    }
    buttons.forEach((each) => setResting(each, true));
    const problem = card.querySelector("[data-problem]");
    setText(problem, "");
    for (;;) {
      try {
        this.take((await call(method, path, { headers: { "Idempotency-Key": `checkout-${id}` } })).data);
        break;
      } catch (error) {
        if (error instanceof Refusal && error.status < 500) {
          setText(problem, error.message);
          await this.#look(id);
          break;
        }
        if (!(error instanceof Refusal) && !(error instanceof Unreachable)) {
          throw error;
        }
        setText(problem, "No answer yet. Trying again…");
        await sleep(RETRY_MS);
      }
    }
    buttons.forEach((each) => setResting(each, false));
  }

  async #look(id) {
    try {
      this.take((await call("GET", `/api/purchases/${id}`)).data);
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof Unreachable)) {
        throw error;
      }
    }
  }

  /** Move the clocks of the holds; one that has run out asks the server, in case its word does not come by itself. */
  #tick() {
    for (const [id, purchase] of this.#purchases) {
      if (purchase.status !== "reserved") {
        continue;
      }
      const left = Date.parse(purchase.expiresAt) - this.#clock.now();
      const card = this.#card(id);
      setText(card.querySelector("[data-clock]"), duration(left));
      if (left <= 0 && this.#clock.now() > (purchase.askAgainAt ?? 0)) {
        purchase.askAgainAt = this.#clock.now() + RETRY_MS;
        this.#look(id);
      }
    }
  }
}

function describe(purchase) {
  const many = units(purchase.quantity);
  const ticket = `Ticket ${purchase.ticket}.`;
  const at = purchase.closedAt ? ` ${time(purchase.closedAt)}.` : "";
  switch (purchase.status) {
    case "confirmed": {
      const sum = purchase.totalAmount === null ? "" : ` for ${money(purchase.totalAmount, purchase.currency)}`;
      return { title: "Confirmed", text: `${many}${sum}. ${ticket}` };
    }
    case "reserved":
      return { title: "Reserved", text: `${many}. ${ticket}`, isHold: true };
    case "expired":
      return { title: "Expired", text: `The hold on ${many} has run out. ${ticket}${at}` };
    case "cancelled":
      return { title: "Cancelled", text: `You gave ${many} back. ${ticket}${at}` };
    case "refunded":
      return { title: "Refunded", text: `${many}. ${ticket}` };
    default:
      return { title: "Not this time", text: `${REJECTIONS[purchase.reason] ?? "It could not be served."} ${ticket}` };
  }
}
