/** As-you-type: one WebSocket to `/realtime`, on which each request takes the place of the one before. */

import { ApiError, ensureAccess } from "./api.js";
import { Backoff } from "./backoff.js";
import * as keys from "./keys.js";
import { decode } from "./msgpack.js";

const REST_MS = 250; // how long the fingers rest before a request is sent
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8000;
const SILENCE_MS = 10_000;
const ANSWER_MS = 5000;
const PROBE = '{"request_id": "is anyone there"}'; // asks for no picture, and is answered with an error at once
const HINDRANCES = new Set([0, 401]); // no answer, no key

/** @typedef {import("./api.js").Settings} Settings */

/**
 * A picture as far as it has come.
 * @typedef {object} LivePicture
 * @property {Blob} blob
 * @property {number} step
 * @property {number} totalSteps
 * @property {number} seed
 * @property {Settings} settings
 */

/**
 * `barred`: the server answers, but again and again lets no connection in. `resting`: words have come and more may
 * follow. `asked`: the server has them.
 * @typedef {"connecting"|"reconnecting"|"barred"|"idle"|"resting"|"asked"|"forming"|"done"|"refused"} State
 */

/**
 * @typedef {object} LiveListener
 * @property {(state: State, message: string) => void} state
 * @property {(picture: LivePicture) => void} picture
 * @property {() => void} doubt the connection broke, has long been silent, or the server said no
 */

export class LiveSession {
  /** @type {WebSocket|null} */
  #socket = null;
  #isOn = false;
  #attempt = 0;
  #retryTimer = 0;
  #restTimer = 0;
  #silenceTimer = 0;
  #backoff = new Backoff(FIRST_RETRY_MS, LAST_RETRY_MS);
  #numBarred = 0; // connections that did not open, one after another
  #lastId = 0;
  /** What is still to be painted. @type {Settings|null} */
  #wanted = null;
  /** What the server was last asked for; it tells nothing of anything before. @type {Settings|null} */
  #asked = null;

  /** @param {LiveListener} listener */
  constructor(listener) {
    this.listener = listener;
    addEventListener("online", () => this.retry(false));
    keys.onChange(() => this.#isOn && this.#connect(false));
  }

  start() {
    this.#isOn = true;
    this.#wanted = null;
    this.#tell("connecting");
    this.#connect(true);
  }

  /** What then forms is cancelled by the server. */
  stop() {
    this.#isOn = false;
    this.#disconnect();
  }

  /** When the fingers have rested. @param {Settings|null} settings null: nothing to paint */
  ask(settings) {
    this.#wanted = settings;
    this.#asked &&= settings && this.#asked;
    clearTimeout(this.#restTimer);
    if (!this.#isOpen) {
      return;
    }
    this.#tell(settings ? "resting" : "idle");
    this.#restTimer = setTimeout(() => this.#send(), REST_MS);
  }

  /** At once: the server is back, or said no and is asked again. @param {boolean} byUser */
  retry(byUser) {
    if (this.#isOn && !this.#isOpen) {
      this.#backoff.reset();
      this.#connect(byUser);
    } else if (this.#isOn && !this.#asked) {
      this.#send();
    }
  }

  /** The server cannot be reached, whatever the socket believes. */
  lose() {
    if (this.#isOn && this.#socket) {
      this.#onClose();
    }
  }

  get #isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** A browser does not tell why a WebSocket was refused, so this asks first. @param {boolean} byUser */
  async #connect(byUser) {
    this.#disconnect();
    const attempt = this.#attempt;
    const hindrance = await whatHinders(byUser);
    if (attempt !== this.#attempt) {
      return;
    }
    if (hindrance) {
      this.#onHindrance(hindrance);
    } else {
      this.#open();
    }
  }

  #open() {
    const socket = new WebSocket(address());
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => this.#onOpen());
    socket.addEventListener("message", ({ data }) => this.#onMessage(data));
    socket.addEventListener("close", () => socket === this.#socket && this.#onClose());
    this.#socket = socket;
    this.#numBarred += 1;
    this.#silenceTimer = setTimeout(() => this.#isOpen || this.#onClose(), SILENCE_MS);
  }

  /** @param {ApiError} hindrance */
  #onHindrance(hindrance) {
    this.#numBarred = 0;
    if (hindrance.status === 401) {
      this.#tell("refused", hindrance.message);
    } else {
      this.#onClose();
    }
  }

  #disconnect() {
    this.#attempt += 1;
    this.#asked = null;
    for (const timer of [this.#retryTimer, this.#restTimer, this.#silenceTimer]) {
      clearTimeout(timer);
    }
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #onOpen() {
    this.#numBarred = 0;
    this.#backoff.reset();
    this.#tell("idle");
    this.#send();
  }

  #onClose() {
    this.#disconnect();
    this.#tell(this.#numBarred > 1 ? "barred" : "reconnecting");
    this.listener.doubt();
    this.#retryTimer = setTimeout(() => this.#connect(false), this.#backoff.next());
  }

  #send() {
    if (!this.#wanted || !this.#isOpen) {
      return;
    }
    this.#lastId += 1;
    this.#asked = this.#wanted;
    const request = { ...this.#wanted, request_id: String(this.#lastId), supersede: true, preview_every: 1 };
    this.#socket?.send(JSON.stringify(request));
    this.#tell("asked");
    this.#expectNews();
  }

  #expectNews() {
    clearTimeout(this.#silenceTimer);
    if (this.#asked) {
      this.#silenceTimer = setTimeout(() => this.#onSilence(), SILENCE_MS);
    }
  }

  /** A picture may wait in line, and a new connection would lose its place; a dead one does not answer. */
  #onSilence() {
    this.listener.doubt();
    this.#socket?.send(PROBE);
    this.#silenceTimer = setTimeout(() => this.#onClose(), ANSWER_MS);
  }

  /** @param {string|ArrayBuffer} data */
  #onMessage(data) {
    const message = typeof data === "string" ? JSON.parse(data) : decode(data);
    const isOfAnother = message.request_id !== undefined && message.request_id !== String(this.#lastId);
    if (!isOfAnother && this.#asked) {
      this.#onAnswer(message, this.#asked);
    }
    this.#expectNews();
  }

  /** @param {any} message @param {Settings} settings */
  #onAnswer(message, settings) {
    if (message.type === "x-fal-error") {
      this.#asked = null;
      this.#tell("refused", message.reason);
      this.listener.doubt();
    } else {
      this.#onPicture(message, settings);
    }
  }

  /** Words that have come since do not keep it from being shown. @param {any} message @param {Settings} settings */
  #onPicture({ images, step, total_steps: totalSteps, seed, timings }, settings) {
    const [{ content, content_type: type }] = images;
    const isWanted = this.#wanted === settings;
    this.listener.picture({ blob: new Blob([content], { type }), step, totalSteps, seed, settings });
    if (timings) {
      this.#asked = null;
      this.#wanted = isWanted ? null : this.#wanted;
    }
    if (isWanted) {
      this.#tell(timings ? "done" : "forming", `Step ${step} of ${totalSteps}`);
    }
  }

  /** @param {State} state */
  #tell(state, message = "") {
    if (this.#isOn) {
      this.listener.state(state, message);
    }
  }
}

/** @param {boolean} byUser @returns {Promise<ApiError|null>} */
async function whatHinders(byUser) {
  try {
    await ensureAccess(byUser);
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    return HINDRANCES.has(error.status) ? error : null;
  }
  return null;
}

/** http becomes ws, https wss. */
function address() {
  return new URL(keys.withKey("realtime"), document.baseURI.replace(/^http/, "ws")).href;
}
