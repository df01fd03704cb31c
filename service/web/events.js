/** Watches any number of generations over one EventSource: of the six connections a browser has, this takes one. */

import { eventsUrl } from "./api.js";

const NAMES = ["queued", "started", "preview", "succeeded", "failed", "cancelled"];
const OPEN_DELAY_MS = 40; // requests sent together are watched by one new stream, not by one each
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8000;

/**
 * @typedef {object} Listener
 * @property {(name: string, data: any) => void} event an event of the server
 * @property {(connected: boolean) => void} connection the stream was lost, or is back
 * @property {(ids: string[]) => Promise<void>} doubt what became of these is uncertain: ask the server
 */

export class EventHub {
  /** @type {Set<string>} */
  #ids = new Set();
  /** @type {EventSource|null} */
  #source = null;
  #timer = 0;
  #retryMs = FIRST_RETRY_MS;
  #lost = false;

  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
  }

  /** @param {string} id */
  watch(id) {
    this.#ids.add(id);
    this.#openIn(OPEN_DELAY_MS);
  }

  /** @param {string} id */
  forget(id) {
    this.#ids.delete(id);
    if (this.#ids.size === 0) {
      this.#close();
      this.#setLost(false);
    }
  }

  /** @param {number} delayMs */
  #openIn(delayMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), delayMs);
  }

  #open() {
    this.#close();
    if (this.#ids.size === 0) {
      return;
    }
    const source = new EventSource(eventsUrl([...this.#ids]));
    for (const name of NAMES) {
      source.addEventListener(name, (event) => this.listener.event(name, JSON.parse(event.data)));
    }
    source.addEventListener("open", () => this.#opened());
    source.addEventListener("error", () => this.#failed(source));
    this.#source = source;
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #opened() {
    this.#retryMs = FIRST_RETRY_MS;
    if (this.#lost) {
      this.#setLost(false);
      this.listener.doubt([...this.#ids]);
    }
  }

  /**
   * The browser connects again by itself, unless the server answered with anything but a stream.
   * @param {EventSource} source
   */
  async #failed(source) {
    this.#setLost(true);
    if (source.readyState !== EventSource.CLOSED) {
      return;
    }
    await this.listener.doubt([...this.#ids]);
    if (source === this.#source) {
      this.#openIn(this.#retryMs);
      this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS);
    }
  }

  /** @param {boolean} lost */
  #setLost(lost) {
    if (lost !== this.#lost) {
      this.#lost = lost;
      this.listener.connection(!lost);
    }
  }
}
