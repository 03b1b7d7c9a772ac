/**
 * What the buyer means to do, kept in this tab until its outcome was shown: {key, kind, quantity, purchaseId, ticket}.
 * The key makes it count once, however often it is sent: after a reload it is the same intent.
 */

export class IntentStore {
  #name;

  constructor(userId, saleId) {
    this.#name = `doorbuster:intent:${userId}:${saleId}`;
  }

  load() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#name));
    } catch {
      return null;
    }
  }

  save(intent) {
    try {
      sessionStorage.setItem(this.#name, JSON.stringify(intent));
    } catch {
      // Private windows of some browsers keep nothing; then only a reload is not covered.
    }
  }

  clear() {
    try {
      sessionStorage.removeItem(this.#name);
    } catch {
      // As above.
    }
  }
}

export function newIntent(kind, quantity) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const key = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { key, kind, quantity, purchaseId: null, ticket: null };
}
