/** The page of one sale: its clock and stock, the button, and what came of it. */

import { call, Refusal, sessionUser, Unreachable } from "./api.js";
import { Buying } from "./buying.js";
import { ServerClock } from "./clock.js";
import { isResting, pageData, setHidden, setResting, setText } from "./dom.js";
import { count, duration, left, units } from "./format.js";
import { IntentStore } from "./intent.js";
import { Leaderboard } from "./leaderboard.js";
import { Feed, showConnection } from "./live.js";
import { RequestList } from "./requests.js";
import { SaleState } from "./sale-state.js";

// After an outcome: a second click that was meant for the first is not another purchase.
const REST_MS = 1_000;
// The page brought the server's time along, and clocks drift by some milliseconds in a minute at the worst.
const CLOCK_CHECK_MS = 300_000;

const page = pageData();
const clock = new ServerClock(page.sale.serverTime);
const sale = new SaleState(page.sale);
const leaderboard = new Leaderboard(sale.id);
const find = (name) => document.querySelector(`[data-${name}]`);
const shown = {
  phase: find("phase"),
  countdown: find("countdown"),
  left: find("left"),
  total: find("total"),
  stock: find("stock"),
  stockRow: document.querySelector(".stock"),
  form: find("buy"),
  notice: find("notice"),
  yours: find("yours"),
};
const buttons = shown.form ? [...shown.form.querySelectorAll("button")] : [];
const requests = new RequestList(find("requests"), clock);
let restUntil = 0;
let endChecked = null;

const feed = new Feed({
  url: document.body.dataset.liveUrl,
  sales: [{ id: sale.id, seq: sale.seq }],
  signedIn: page.userId !== null,
  hear,
  changed: showConnection,
});
const buying = new Buying({
  sale,
  clock,
  store: new IntentStore(page.userId, sale.id),
  isLive: () => feed.state === "live",
  show: showRequest,
});

function hear(event, data) {
  if (data.flashSaleId !== sale.id) {
    return;
  }
  if (data.serverTime) {
    if (data.answer) {
      clock.hear(data.serverTime, data.answer.sentAt, data.answer.receivedAt);
    } else {
      clock.hearSince(data.serverTime, performance.now());
    }
  }
  if (event === "sale") {
    sale.take(data);
  } else if (event === "purchaseSettled") {
    takePurchase(data);
    leaderboard.refreshSoon();
  } else {
    sale.hear(event, data);
  }
  leaderboard.refresh();
  showPlace();
  showSale();
}

function takePurchase(purchase) {
  if (buying.intent?.purchaseId === purchase.purchaseId) {
    buying.hear(purchase);
    return;
  }
  setHidden(shown.yours, false);
  requests.take(purchase);
}

/* What the sale is at. */

const PHASES = { upcoming: "Starts in", live: "On sale now", paused: "Paused. This page goes on by itself", over: "The sale is over" };

function showSale() {
  const now = clock.now();
  const phase = sale.phase(now);
  if (phase === "over" && !sale.isOver && endChecked !== sale.endsAt) {
    // By the clock alone: the end may have been put off meanwhile.
    endChecked = sale.endsAt;
    setTimeout(lookAgain, 3_000 * Math.random());
  }
  document.body.dataset.phase = phase;
  const ends = phase === "live" && sale.endsAt !== null;
  setText(shown.phase, ends ? "Ends in" : sale.endReason === "cancelled" ? "The sale was called off" : PHASES[phase]);
  const until = phase === "upcoming" ? sale.startsAt : ends ? sale.endsAt : null;
  setText(shown.countdown, until === null ? "" : duration(until - now));
  setText(shown.left, left(sale.remaining));
  setText(shown.total, `of ${count(sale.total)}`);
  // What was left when the time was over is nobody's business any more.
  setHidden(shown.stockRow, phase === "over" && sale.remaining > 0);
  setHidden(shown.stock, phase === "over");
  if (shown.stock.value !== sale.remaining || shown.stock.max !== sale.total) {
    shown.stock.max = sale.total;
    shown.stock.value = sale.remaining;
  }
  if (shown.form) {
    setHidden(shown.form, phase === "over");
    const rests = buying.intent !== null || phase === "paused" || sale.remaining === 0 || performance.now() < restUntil;
    buttons.forEach((button) => setResting(button, rests));
  }
}

/* The button. */

shown.form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.submitter ?? buttons[0];
  if (isResting(button)) {
    return;
  }
  if (sessionUser() !== page.userId) {
    // Somebody else logged in, or this buyer out, in another tab: nobody buys for another by mistake.
    location.reload();
    return;
  }
  setText(shown.notice, "");
  buying.begin(button.value, Number(shown.form.elements.quantity.value));
  showSale();
});

// The second click of a double click, and a key that is held down, mean what the first one meant.
shown.form?.addEventListener("click", (event) => event.detail > 1 && event.target.closest("button") && event.preventDefault());
shown.form?.addEventListener("keydown", (event) => event.repeat && event.key === "Enter" && event.preventDefault());

/* What is on its way. */

let pending = null;

function showRequest(stage) {
  pending = stage.stage === "settled" || stage.stage === "refused" ? null : stage;
  if (pending) {
    setHidden(shown.yours, false);
  } else {
    restUntil = performance.now() + REST_MS;
    requests.showPending(null);
    if (stage.stage === "settled") {
      takePurchase(stage.purchase);
      leaderboard.refreshSoon();
    } else {
      setText(shown.notice, stage.code === "SOLD_OUT" ? "No units are left at this moment." : stage.message);
    }
    setHidden(shown.yours, !find("requests").children.length);
  }
  showPlace();
  showSale();
}

function showPlace() {
  if (!pending) {
    return;
  }
  const { stage, intent } = pending;
  const what = `${intent.kind === "reservation" ? "Reserve" : "Buy"} ${units(intent.quantity)}.`;
  if (stage === "ready") {
    const withdraw = () => buying.withdraw();
    requests.showPending({ title: "Ready", text: `${what} It is sent the moment the sale opens.`, withdraw });
  } else if (stage === "queued") {
    const ahead = sale.ahead(intent.ticket);
    const place = ahead === 0 ? "You are next" : `${count(ahead)} ahead of you`;
    requests.showPending({ title: "In line", text: `${what} Ticket ${intent.ticket}.`, place });
  } else if (stage === "unreachable") {
    requests.showPending({ title: "No answer yet", text: `${what} It is sent again until there is one, and counts once.` });
  } else {
    requests.showPending({ title: "Sending", text: what });
  }
}

/* The server's clock, asked now and again. */

async function lookAgain() {
  try {
    const answer = await call("GET", `/api/flash-sales/${sale.id}`);
    hear("sale", { ...answer.data, flashSaleId: sale.id, answer });
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof Unreachable)) {
      throw error;
    }
  }
}

async function checkClock() {
  await lookAgain();
  setTimeout(checkClock, CLOCK_CHECK_MS * (0.8 + Math.random() * 0.4));
}

setHidden(shown.form, false);
page.purchases.toReversed().forEach(takePurchase);
showSale();
setInterval(showSale, 100);
feed.start();
leaderboard.refreshSoon();
setTimeout(checkClock, CLOCK_CHECK_MS * Math.random());
if (page.userId) {
  buying.resume();
}
