/**
 * From the moment somebody logs out until the next page is there, this one asks the server for nothing: the session may
 * have ended there already, and each question would be refused.
 *
 * The window is told by two events: `leaving`, and `staying` where no next page came.
 */

// Longer than a log-out takes to be answered. Whoever stopped the browser on the way is still here after it.
const AWAY_MS_MAX = 20_000;

let asking = new AbortController();
let here = Promise.resolve();
let comeBack = null;
let timer = 0;

/** Aborted as soon as somebody leaves: for what is on its way. */
export function leavingSignal() {
  return asking.signal;
}

/** Fulfilled while nobody is leaving: to be waited for before anything is asked. */
export function untilHere() {
  return here;
}

export function leave() {
  if (comeBack) {
    return;
  }
  here = new Promise((resolve) => {
    comeBack = resolve;
  });
  asking.abort();
  window.dispatchEvent(new Event("leaving"));
  timer = setTimeout(stay, AWAY_MS_MAX);
}

export function stay() {
  if (!comeBack) {
    return;
  }
  clearTimeout(timer);
  comeBack();
  comeBack = null;
  asking = new AbortController();
  window.dispatchEvent(new Event("staying"));
}
