/** The list of sales: clocks that run and stock that falls. */

import { ServerClock } from "./clock.js";
import { pageData, setHidden, setText } from "./dom.js";
import { duration, left } from "./format.js";
import { Feed, showConnection } from "./live.js";

const clock = new ServerClock(pageData().serverTime);
const cards = new Map();
for (const card of document.querySelectorAll("[data-sale]")) {
  if (card.querySelector("[data-left]")) {
    cards.set(card.dataset.sale, card);
  }
}

function showClocks() {
  for (const line of document.querySelectorAll("[data-until]")) {
    const remaining = Date.parse(line.dataset.until) - clock.now();
    const over = remaining <= 0 && line.dataset.then;
    setText(line, over ? line.dataset.then : `${line.dataset.words} ${duration(remaining)}`);
  }
}

function hear(event, data) {
  const card = cards.get(data.flashSaleId);
  const stock = card?.querySelector("[data-left]");
  if (!stock) {
    return;
  }
  if (data.serverTime && data.answer) {
    clock.hear(data.serverTime, data.answer.sentAt, data.answer.receivedAt);
  } else if (data.serverTime) {
    clock.hearSince(data.serverTime, performance.now());
  }
  if (event === "stockUpdate" || event === "sale") {
    setText(stock, left(event === "sale" ? data.remainingStock : data.availableUnits));
    setHidden(stock, data.state ? data.state === "scheduled" : stock.hidden);
  } else if (event === "flashSaleStarted") {
    setHidden(stock, false);
  } else if (event === "flashSaleEnded") {
    setText(stock, data.reason === "sold-out" ? "Sold out" : "Ended");
  }
}

showClocks();
setInterval(showClocks, 200);
if (cards.size) {
  const sales = [...cards].map(([id, card]) => ({ id, seq: Number(card.dataset.seq) }));
  new Feed({ url: document.body.dataset.liveUrl, sales, signedIn: false, hear, changed: showConnection }).start();
}
