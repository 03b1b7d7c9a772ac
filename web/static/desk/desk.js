/** The live desk: asked for once a second, drawn as it comes, and buttons that do not lose the charts. */

import { call, Refusal, Unreachable } from "../js/api.js";
import { make, pageData, setHidden, setText } from "../js/dom.js";
import { count } from "../js/format.js";
import { Chart, Rates } from "./chart.js";

const EVERY_MS = 1_000;
const QUIET_WORKER_SECONDS = 10;
const LONG_WAIT_MS = 2_000;

const first = pageData();
const path = `/api/flash-sales/${first.saleId}`;
const find = (selector) => document.querySelector(selector);
const charts = [...document.querySelectorAll("[data-chart]")].map((element) => new Chart(element));
const rates = new Rates();

function show(desk) {
  const refused = Object.values(desk.refused).reduce((sum, each) => sum + each, 0);
  const totals = { accepted: desk.line.accepted, settled: desk.line.settled, confirmed: desk.stock.sold, refused };
  const perSecond = rates.since(totals, Date.parse(desk.serverTime));
  for (const chart of charts) {
    if (perSecond) {
      chart.add(perSecond[chart.name]);
    }
  }
  numbers({
    ...desk.stock,
    waiting: desk.line.waiting,
    oldestWait: desk.line.oldestWaitMs,
    p50: desk.outcomeTimes.p50Ms,
    p99: desk.outcomeTimes.p99Ms,
    accepted: desk.line.accepted,
    settled: desk.line.settled,
    refused,
  });
  setText(find('[data-number="audit"]'), desk.audit.agrees ? "agrees" : `DISAGREES: ${desk.audit.disagreeing.join(", ")}`);
  setText(find("[data-status]"), desk.status.charAt(0) + desk.status.slice(1).toLowerCase());
  rows(find("[data-workers]"), desk.workers.map((each) => [each.name, each.queues.join(", "), `${Math.round(each.silentSeconds)} s ago`]));
  setHidden(find("[data-no-workers]"), desk.workers.length > 0);
  rows(find("[data-refusals]"), Object.entries(desk.refused).sort((a, b) => b[1] - a[1]).map(([code, times]) => [code, count(times)]));
  buttons(desk);
  judge(desk);
}

function numbers(values) {
  for (const [name, value] of Object.entries(values)) {
    setText(find(`[data-number="${name}"]`), value === null ? "–" : count(value));
  }
}

/** Rows are changed in place: a table that is made anew once a second cannot be read or copied from. */
function rows(body, wanted) {
  while (body.rows.length > wanted.length) {
    body.deleteRow(-1);
  }
  wanted.forEach((cells, index) => {
    const row = body.rows[index] ?? body.appendChild(make("tr", {}, ...cells.map(() => make("td"))));
    cells.forEach((text, column) => setText(row.cells[column], text));
  });
}

function buttons(desk) {
  const over = desk.state === "ended" || desk.state === "cancelled";
  const hidden = {
    pause: over || !desk.isActive,
    resume: over || desk.isActive,
    end: desk.state !== "live",
    restart: desk.status === "UPCOMING",
    wake: false,
  };
  for (const [action, isHidden] of Object.entries(hidden)) {
    setHidden(find(`[data-for="${action}"]`), isHidden);
  }
}

/** Is it healthy? In words, since colour alone tells some people nothing. */
function judge(desk) {
  const wrong = [];
  if (!desk.audit.agrees) {
    wrong.push("the audit disagrees");
  }
  const settling = desk.workers.filter((each) => each.queues.some((queue) => queue !== "chores"));
  if (!settling.some((each) => each.silentSeconds < QUIET_WORKER_SECONDS)) {
    wrong.push("no worker is heard of");
  }
  if (!desk.hasBeat) {
    wrong.push("beat is silent");
  }
  if (desk.line.oldestWaitMs > LONG_WAIT_MS) {
    wrong.push(`the line has waited ${count(Math.round(desk.line.oldestWaitMs / 1000))} s`);
  }
  say(wrong.length === 0 ? "good" : "bad", wrong.length === 0 ? "All is well" : `Look here: ${wrong.join("; ")}`);
}

function say(health, words) {
  find("[data-health]").dataset.health = health;
  setText(find("[data-verdict]"), words);
}

async function look() {
  const started = performance.now();
  try {
    show((await call("GET", `${path}/desk`)).data);
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof Unreachable)) {
      throw error;
    }
    rates.forget();
    say("bad", error instanceof Refusal ? error.message : "No answer from the server; trying again");
  }
  setTimeout(look, Math.max(0, EVERY_MS - (performance.now() - started)));
}

const DOINGS = {
  restock: (form) => call("PATCH", path, { body: { totalStock: Number(form.elements.totalStock.value) } }),
  restart: async () => {
    const { data } = await call("POST", `${path}/restart`);
    location.assign(`/admin/sales/${data.id}/desk`);
  },
};
const DONE = { pause: "Paused", resume: "Resumed", end: "Ended", restart: "Restarted", wake: "Woken", restock: "Restocked" };

// Of each action one at a time.
const busy = new Set();

document.addEventListener("submit", (event) => {
  const { action } = event.target.dataset;
  if (!action) {
    return;
  }
  event.preventDefault();
  event.target.closest("dialog")?.close();
  act(action, event.target);
});

async function act(action, form) {
  if (busy.has(action)) {
    return;
  }
  busy.add(action);
  const notice = find("[data-notice]");
  setText(notice, "");
  try {
    await (DOINGS[action] ?? (() => call("POST", `${path}/${action}`)))(form);
    setText(notice, DONE[action]);
  } catch (error) {
    if (!(error instanceof Refusal) && !(error instanceof Unreachable)) {
      throw error;
    }
    const field = error instanceof Refusal ? error.fields?.[0] : null;
    setText(notice, field ? `Not done: ${field.message}` : `Not done: ${error.message || "no answer"}`);
  } finally {
    busy.delete(action);
  }
}

show(first);
look();
