/** Small changes to the page. Nothing is touched that is as it should be: a live region reads out every touch. */

export function setText(element, text) {
  if (element && element.textContent !== text) {
    element.textContent = text;
  }
}

export function setHidden(element, hidden) {
  if (element && element.hidden !== hidden) {
    element.hidden = hidden;
  }
}

/** Out of use, but still there for the keyboard and the screen reader. */
export function setResting(button, resting) {
  if (resting) {
    button.setAttribute("aria-disabled", "true");
  } else {
    button.removeAttribute("aria-disabled");
  }
}

export function isResting(button) {
  return button.getAttribute("aria-disabled") === "true";
}

/** make("p", {className: "quiet"}, "text", child, …) */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

/** What the server put into the page for its scripts. */
export function pageData() {
  return JSON.parse(document.getElementById("page").textContent);
}

export function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
