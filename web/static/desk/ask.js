/**
 * What cannot be taken back is asked first. Without scripts the question is a page of its own; here the same page's
 * question is shown as a dialog, so what it says stands in one place.
 */

import { make } from "../js/dom.js";

const TIMEOUT_MS = 5_000;

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-asks]")) {
    return;
  }
  event.preventDefault();
  // Not form.action: a field of that name would stand in its place.
  const address = new URL(form.getAttribute("action") ?? location.pathname, location.href);
  address.search = new URLSearchParams(new FormData(form));
  const question = await read(address);
  if (question) {
    show(question);
  } else {
    location.assign(address);
  }
});

/** The question of that page, or null where there is none to be had: then the page itself says why. */
async function read(address) {
  try {
    const answer = await fetch(address, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    return answer.ok ? page.querySelector("[data-question]") : null;
  } catch {
    return null;
  }
}

function show(question) {
  document.querySelector("dialog.ask")?.close();
  const dialog = make("dialog", { className: "ask" }, document.adoptNode(question));
  dialog.setAttribute("aria-labelledby", "question-title");
  dialog.setAttribute("aria-describedby", "question-words");
  const back = dialog.querySelector("[data-back]");
  // A key that is still held down from the button before answers nothing: the harmless answer has the focus.
  const close = make("button", { type: "button", className: "button second", autofocus: true }, back.textContent);
  close.addEventListener("click", () => dialog.close());
  back.replaceWith(close);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
