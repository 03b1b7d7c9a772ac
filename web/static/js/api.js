/** The API of this origin: the same routes and rules as for any other client, with the session's cookie. */

import { leavingSignal, untilHere } from "./leaving.js";

const TIMEOUT_SECONDS = 10;

/** The server said no: `status`, the stable `code`, a `message` for people, and `data`. */
export class Refusal extends Error {
  constructor(status, body, retryAfterSeconds) {
    super(body.message ?? "Something went wrong");
    this.status = status;
    this.code = body.code ?? "";
    this.data = body.data ?? null;
    this.fields = body.errors ?? [];
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Nobody can know whether the request arrived. */
export class Unreachable extends Error {}

/**
 * {data, meta, sentAt, receivedAt}: the times by performance.now(), for the clock.
 * Throws Refusal and Unreachable. A session whose access token has run out is renewed on the way.
 */
export async function call(method, path, options = {}) {
  try {
    return await send(method, path, options);
  } catch (error) {
    if (error instanceof Refusal && error.status === 401 && (await renewSession())) {
      return send(method, path, options);
    }
    throw error;
  }
}

let renewing = null;

/** Whether the session goes on; asked by many at once, the server is asked once. */
export function renewSession() {
  renewing ??= send("POST", "/session/refresh")
    .then(() => true)
    .catch((error) => {
      if (error instanceof Refusal) {
        return false;
      }
      throw error;
    })
    .finally(() => {
      renewing = null;
    });
  return renewing;
}

async function send(method, path, { body, headers = {}, timeoutSeconds = TIMEOUT_SECONDS } = {}) {
  await untilHere();
  const request = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (method !== "GET") {
    request.headers["X-CSRF-Token"] = csrfToken();
  }
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  request.signal = AbortSignal.any([AbortSignal.timeout(timeoutSeconds * 1000), leavingSignal()]);
  const sentAt = performance.now();
  let response;
  let answer;
  try {
    response = await fetch(path, request);
    answer = await response.json();
  } catch (error) {
    // Broken off because somebody leaves, it is nobody's trouble until they stay.
    await untilHere();
    throw new Unreachable(error.message);
  }
  const receivedAt = performance.now();
  if (!response.ok) {
    throw new Refusal(response.status, answer, Number(response.headers.get("Retry-After")) || 1);
  }
  return { data: answer.data, meta: answer.meta, sentAt, receivedAt };
}

/** The id of whoever is logged in in this browser now, which another tab may have changed, or null. */
export function sessionUser() {
  const user = csrfToken().split(".")[0];
  return user && user !== "0" ? user : null;
}

/** Read anew each time: logging in in another tab changes it. */
function csrfToken() {
  const found = document.cookie.match(/(?:^|; )doorbuster_csrf=([^;]*)/);
  return found ? decodeURIComponent(found[1]) : "";
}
