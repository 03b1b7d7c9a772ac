/** The list of sales: clocks that run, stock that falls, and what becomes of each sale. */

import { ServerClock } from "./clock.js";
import { pageData, setHidden, setText } from "./dom.js";
import { duration, left, units } from "./format.js";
import { Feed, showConnection } from "./live.js";
import { SaleState } from "./sale-state.js";

const ENDS = { "sold-out": "Sold out", cancelled: "Cancelled" };

const page = pageData();
const clock = new ServerClock(page.serverTime);
const cards = new Map();
for (const sale of page.sales) {
  const card = document.querySelector(`[data-sale="${sale.id}"]`);
  const find = (name) => card.querySelector(`[data-${name}]`);
  cards.set(sale.id, { sale: new SaleState(sale), main: find("main"), more: find("more"), units: find("units") });
}

/** What a card says of its sale: first what counts, then the rest. */
function wordsFor(sale, now) {
  switch (sale.phase(now)) {
    case "upcoming":
      return ["", `starts in ${duration(sale.startsAt - now)}`];
    case "live":
      return [left(sale.remaining), sale.endsAt === null ? "on sale now" : `ends in ${duration(sale.endsAt - now)}`];
    case "paused":
      return ["Paused", left(sale.remaining)];
    default:
      return [ENDS[sale.endReason] ?? "Ended", ""];
  }
}

function show() {
  const now = clock.now();
  for (const { sale, main, more, units: total } of cards.values()) {
    const [first, rest] = wordsFor(sale, now);
    setText(main, first);
    setHidden(main, !first);
    setText(more, rest);
    setText(total, units(sale.total));
    setHidden(total, Boolean(first));
  }
}

function hear(event, data) {
  const card = cards.get(data.flashSaleId);
  if (!card) {
    return;
  }
  if (data.serverTime && data.answer) {
    clock.hear(data.serverTime, data.answer.sentAt, data.answer.receivedAt);
  } else if (data.serverTime) {
    clock.hearSince(data.serverTime, performance.now());
  }
  if (event === "sale") {
    card.sale.take(data);
  } else {
    card.sale.hear(event, data);
  }
  show();
}

show();
setInterval(show, 200);
if (cards.size) {
  const sales = page.sales.map(({ id, seq }) => ({ id, seq }));
  new Feed({ url: document.body.dataset.liveUrl, sales, signedIn: false, hear, changed: showConnection }).start();
}
