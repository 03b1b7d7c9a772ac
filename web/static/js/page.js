/** What every page does: the visitor's locale, forms that are sent once, and a session that goes on. */

import { renewSession, Unreachable } from "./api.js";
import { localise } from "./format.js";
import { leave, stay } from "./leaving.js";

// Renewed well before it runs out, so that nobody waits for it when a sale opens.
const SHARE_OF_LIFE = 0.7;
const RENEW_MS_MIN = 20_000;
const RETRY_MS = 15_000;

localise(document);

let sent = new WeakSet();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented) {
    return;
  }
  if (form.matches("[data-leaves]")) {
    leave();
  }
  if (!form.matches("[data-once]")) {
    return;
  }
  if (sent.has(form)) {
    event.preventDefault();
  }
  sent.add(form);
});
// Back from the next page, the forms are as new.
window.addEventListener("pageshow", () => {
  sent = new WeakSet();
  stay();
});

const { sessionSeconds } = document.body.dataset;
if (sessionSeconds) {
  const every = Math.max(RENEW_MS_MIN, Number(sessionSeconds) * 1000 * SHARE_OF_LIFE);
  const renew = async () => {
    let next = every;
    try {
      if (!(await renewSession())) {
        return;
      }
    } catch (error) {
      if (!(error instanceof Unreachable)) {
        throw error;
      }
      next = RETRY_MS;
    }
    setTimeout(renew, next);
  };
  // The token may have been given out some pages ago.
  setTimeout(renew, Math.max(0, Math.min(every, Number(document.body.dataset.sessionLeft) * 1000 * SHARE_OF_LIFE)));
}
