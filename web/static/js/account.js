/** One's own holds, with their clocks and buttons. */

import { ServerClock } from "./clock.js";
import { pageData } from "./dom.js";
import { RequestList } from "./requests.js";

const page = pageData();
const list = document.querySelector("[data-requests]");
if (list) {
  const requests = new RequestList(list, new ServerClock(page.serverTime));
  page.holds.forEach((hold) => requests.take(hold));
}
