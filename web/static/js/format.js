/** Money, times and numbers as the visitor's locale writes them; the server's own words stand where this does not run. */

const locales = navigator.languages?.length ? navigator.languages : undefined;

/** `amount` in major units of an ISO 4217 currency. */
export function money(amount, currency) {
  return new Intl.NumberFormat(locales, { style: "currency", currency }).format(amount);
}

export function count(number) {
  return new Intl.NumberFormat(locales).format(number);
}

/** An ISO 8601 time in the visitor's own zone. */
export function moment(iso, precise = false) {
  const style = { dateStyle: "medium", timeStyle: precise ? "medium" : "short" };
  return new Intl.DateTimeFormat(locales, style).format(new Date(iso));
}

/** The time of day alone. */
export function time(iso) {
  return new Intl.DateTimeFormat(locales, { timeStyle: "medium" }).format(new Date(iso));
}

/** How long, for a clock that counts down: 0:09, 12:09, 3:12:09, 2 d 3:12:09. Zero is only shown when it is over. */
export function duration(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const clock = days || hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

/** "1 unit", "3 units". */
export function units(number) {
  return number === 1 ? "1 unit" : `${count(number)} units`;
}

/** "12 left", or the plain words for none. */
export function left(remaining) {
  return remaining > 0 ? `${count(remaining)} left` : "Sold out";
}

/** Rewrite what the server wrote for everybody. */
export function localise(root) {
  for (const element of root.querySelectorAll("data.money")) {
    element.textContent = money(element.value, element.dataset.currency);
  }
  for (const element of root.querySelectorAll("time[datetime]")) {
    element.textContent = moment(element.dateTime, "precise" in element.dataset);
  }
  for (const element of root.querySelectorAll("[data-zone]")) {
    element.textContent = "Times are in your time zone.";
  }
}
