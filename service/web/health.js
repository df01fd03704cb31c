/** How the server is doing: asked often while it takes no work, now and then while it does. */

import { Backoff } from "./backoff.js";

const READY_EVERY_MS = 5000;
const FIRST_AGAIN_MS = 1000;
const LAST_AGAIN_MS = 4000;
const PATIENCE_MS = 8000;

/**
 * The model that paints. Sides in pixels.
 * @typedef {object} Model
 * @property {string} name
 * @property {string} device
 * @property {number} default_width
 * @property {number} default_height
 * @property {number} size_multiple
 * @property {number} min_size
 * @property {number} max_size
 * @property {string} [sampler] its own, where that is one of `samplers`
 * @property {string[]} samplers
 */

/**
 * `auth`: whether it asks for an API key.
 * @typedef {object} State
 * @property {"ready"|"loading"|"restarting"|"draining"|"unreachable"} status
 * @property {Model} [model]
 * @property {boolean} [auth]
 */

export class Health {
  #timer = 0;
  #backoff = new Backoff(FIRST_AGAIN_MS, LAST_AGAIN_MS);
  /** @type {Promise<void>|null} */
  #checking = null;
  #told = "";

  /** @param {(state: State) => void} listener hears of every change */
  constructor(listener) {
    this.listener = listener;
    for (const name of ["online", "offline", "pageshow"]) {
      addEventListener(name, () => this.check());
    }
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
  }

  /** Now, because there is reason to doubt. */
  async check() {
    this.#checking ??= this.#check();
    await this.#checking;
  }

  async #check() {
    clearTimeout(this.#timer);
    const state = await ask();
    this.#checking = null;
    this.#tell(state);
    const isReady = state.status === "ready";
    if (isReady) {
      this.#backoff.reset();
    }
    this.#timer = setTimeout(() => this.#again(isReady), isReady ? READY_EVERY_MS : this.#backoff.next());
  }

  /** A hidden tab does not ask how a server is that was well: it will when it is seen. @param {boolean} wasReady */
  #again(wasReady) {
    if (!(wasReady && document.hidden)) {
      this.check();
    }
  }

  /** @param {State} state */
  #tell(state) {
    const text = JSON.stringify(state);
    if (text !== this.#told) {
      this.#told = text;
      this.listener(state);
    }
  }
}

/** @returns {Promise<State>} */
async function ask() {
  try {
    const response = await fetch("readyz", { signal: AbortSignal.timeout(PATIENCE_MS) });
    const state = await response.json();
    return typeof state.status === "string" ? state : { status: "unreachable" };
  } catch {
    return { status: "unreachable" };
  }
}
