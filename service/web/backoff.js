/** Ever longer pauses between attempts, not the same for all, so that a server that comes back is not stormed. */

export class Backoff {
  #ms;

  /** @param {number} firstMs @param {number} lastMs */
  constructor(firstMs, lastMs) {
    this.firstMs = firstMs;
    this.lastMs = lastMs;
    this.#ms = firstMs;
  }

  /** After a success. */
  reset() {
    this.#ms = this.firstMs;
  }

  /** Milliseconds to wait before the next attempt. */
  next() {
    const ms = this.#ms;
    this.#ms = Math.min(2 * ms, this.lastMs);
    return ms * (0.75 + Math.random() / 2);
  }
}
