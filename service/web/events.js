/**
 * Watches any number of generations over one EventSource: of the six connections that a browser has for all its tabs,
 * this takes one, and none while the tab is hidden.
 */

import { eventsUrl, whyNoEvents } from "./api.js";
import { Backoff } from "./backoff.js";

const NAMES = ["queued", "started", "preview", "succeeded", "failed", "cancelled"];
const OPEN_DELAY_MS = 40; // requests sent together are watched by one new stream, not by one each
const MOST = 150; // ids in one address; the next ones are watched when these are over
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8000;

/**
 * @typedef {object} Listener
 * @property {(name: string, data: any) => void} event an event of the server
 * @property {(connected: boolean, reason: string) => void} connection the stream was lost, or is back; `reason`: why
 *   the server refuses it, empty where that is not known
 * @property {(ids: string[]) => Promise<void>} doubt what became of these is uncertain: ask the server
 */

export class EventHub {
  /** @type {Set<string>} */
  #ids = new Set();
  /** @type {EventSource|null} */
  #source = null;
  #timer = 0;
  #backoff = new Backoff(FIRST_RETRY_MS, LAST_RETRY_MS);
  #lost = false;
  #reason = "";
  #numFailures = 0; // since it was last open

  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close() : this.reopen()));
  }

  /** What is watched already goes on in the stream that is open. @param {string} id */
  watch(id) {
    if (!this.#ids.has(id)) {
      this.#ids.add(id);
      this.#openIn(OPEN_DELAY_MS);
    }
  }

  /** @param {string} id */
  forget(id) {
    if (!this.#ids.delete(id)) {
      return;
    }
    if (this.#ids.size === 0) {
      this.#close();
      this.#setLost(false);
    } else if (this.#ids.size >= MOST) {
      this.#openIn(OPEN_DELAY_MS);
    }
  }

  /** At once: there is reason to think that the stream is dead, or that the server is back. */
  reopen() {
    this.#backoff.reset();
    this.#openIn(0);
  }

  /** It should have told of something. One that is known to be lost has its time already. */
  replace() {
    if (this.#source) {
      this.reopen();
    }
  }

  get #watched() {
    return [...this.#ids].slice(0, MOST);
  }

  /** @param {number} delayMs */
  #openIn(delayMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), delayMs);
  }

  #open() {
    this.#close();
    if (this.#ids.size === 0 || document.hidden) {
      return;
    }
    const source = new EventSource(eventsUrl(this.#watched));
    for (const name of NAMES) {
      source.addEventListener(name, (event) => this.listener.event(name, JSON.parse(event.data)));
    }
    source.addEventListener("open", () => this.#opened());
    source.addEventListener("error", () => this.#failed());
    this.#source = source;
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #opened() {
    this.#backoff.reset();
    this.#numFailures = 0;
    if (this.#lost) {
      this.#setLost(false);
      this.listener.doubt([...this.#ids]);
    }
  }

  /** The browser would connect again by itself, but always as fast, and not after an answer that is no stream. */
  async #failed() {
    this.#close();
    this.#numFailures += 1;
    this.#setLost(true, this.#reason);
    this.#openIn(this.#backoff.next());
    await this.listener.doubt([...this.#ids]);
    if (this.#lost && this.#numFailures > 1) {
      await this.#explain();
    }
  }

  /** An EventSource does not tell why it was refused. */
  async #explain() {
    const reason = await whyNoEvents(this.#watched);
    if (this.#lost) {
      this.#setLost(true, reason);
    }
  }

  /** @param {boolean} lost @param {string} [reason] */
  #setLost(lost, reason = "") {
    if (lost !== this.#lost || reason !== this.#reason) {
      this.#lost = lost;
      this.#reason = reason;
      this.listener.connection(!lost, reason);
    }
  }
}
