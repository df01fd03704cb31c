/** The life of every generation on this page: sent, watched, finished, remembered. */

import { ApiError, cancelGeneration, createGeneration, getGeneration, getImage } from "./api.js";
import { Card } from "./card.js";
import { EventHub } from "./events.js";
import { Generation } from "./generation.js";
import * as history from "./history.js";

const EVERY_STEP_UP_TO = 30; // longer ones show every other step
const QUEUE_REFRESH_MS = 2000; // the server tells a place in the queue when asked
const PREVIEW_BOUNDS = [64, 1024]; // pixels
const GONE = "The server no longer knows this picture. It may have been restarted.";
const EXPIRED = "Done, but the server no longer keeps the picture.";
const UNFETCHED = "Done, but the picture could not be fetched. Load this page again to try once more.";

/**
 * @typedef {object} StudioListener
 * @property {(errors: import("./api.js").FieldError[], message: string) => void} invalid faults in the settings
 * @property {(settings: import("./api.js").Settings) => void} reuse
 * @property {(connected: boolean) => void} connection
 */

export class Studio {
  /** @param {import("./gallery.js").Gallery} gallery @param {StudioListener} listener */
  constructor(gallery, listener) {
    this.gallery = gallery;
    this.listener = listener;
    this.hub = new EventHub({
      event: (name, data) => this.#onEvent(name, data),
      connection: listener.connection,
      doubt: async (ids) => void (await Promise.all(ids.map((id) => this.#refresh(id)))),
    });
    setInterval(() => this.#refreshQueued(), QUEUE_REFRESH_MS);
    this.actions = {
      cancel: (card) => this.#cancel(card),
      retry: (card) => this.#send(card),
      reuse: (card) => listener.reuse(card.generation.reusableSettings),
      remove: (card) => this.#remove(card),
    };
  }

  /** @param {import("./api.js").Settings} settings */
  async submit(settings) {
    const card = new Card(new Generation(settings), this.actions);
    this.gallery.add(card);
    await this.#send(card);
  }

  /** Bring back what this browser asked for before: finished pictures, and those that still form. */
  async restore() {
    await Promise.all(history.entries().reverse().map((entry) => this.#bringBack(entry)));
  }

  /** @param {Card} card */
  async #send(card) {
    const { generation } = card;
    generation.restart();
    card.print.clear();
    this.#update(card);
    try {
      const record = await createGeneration({ ...generation.settings, ...previewOptions(card) });
      history.remember({ id: record.id, settings: generation.settings, finished: false });
      this.#follow(card, record);
    } catch (error) {
      this.#onRefusal(card, error);
    }
  }

  /** @param {Card} card @param {unknown} error */
  #onRefusal(card, error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    if (error.status === 422) {
      this.gallery.remove(card);
      this.listener.invalid(error.fieldErrors, error.message);
      return;
    }
    const patience = error.retryAfter === null ? "" : ` Try again in ${Math.ceil(error.retryAfter)} s.`;
    card.generation.refuse(error.message + patience);
    this.#update(card);
  }

  /** @param {history.Entry} entry */
  async #bringBack({ id, settings, finished }) {
    const card = new Card(new Generation(settings), this.actions);
    card.generation.id = id;
    this.gallery.add(card);
    try {
      this.#follow(card, await getGeneration(id));
    } catch (error) {
      this.hub.watch(id);
      this.#onLoss(card, error);
      if (finished && card.generation.phase === "gone") {
        this.gallery.remove(card);
      }
    }
  }

  /** @param {Card} card @param {import("./api.js").GenerationRecord} record */
  #follow(card, record) {
    card.generation.apply(record);
    this.#update(card);
    if (card.generation.isLive) {
      this.hub.watch(record.id);
    } else {
      this.#onEnd(card);
    }
  }

  /** @param {string} name @param {any} data */
  #onEvent(name, data) {
    const card = this.gallery.find(data.id);
    if (!card?.generation.isLive) {
      return;
    }
    if (name === "preview") {
      card.generation.advance(data);
      card.showPreview(data);
      this.#update(card);
    } else {
      this.#onRecord(card, data);
    }
  }

  /**
   * From the stream, or as the answer to a question; whichever tells of the end first, ends it.
   * @param {Card} card
   * @param {import("./api.js").GenerationRecord} record
   */
  #onRecord(card, record) {
    if (!card.generation.isLive) {
      return;
    }
    card.generation.apply(record);
    this.#update(card);
    if (!card.generation.isLive) {
      this.#onEnd(card);
    }
  }

  /** @param {Card} card */
  async #onEnd(card) {
    const { id, phase } = card.generation;
    this.hub.forget(id);
    if (phase !== "succeeded") {
      history.forget(id);
      return;
    }
    history.finish(id);
    try {
      await card.showFinal(await getImage(id));
    } catch (error) {
      this.#onLoss(card, error);
      if (card.generation.phase === "succeeded") {
        card.generation.lose(UNFETCHED);
        this.#update(card);
      }
    }
  }

  /** Ask what became of a generation whose stream broke off. @param {string} id */
  async #refresh(id) {
    const card = this.gallery.find(id);
    if (!card?.generation.isLive) {
      return;
    }
    try {
      this.#onRecord(card, await getGeneration(id));
    } catch (error) {
      this.#onLoss(card, error);
    }
  }

  #refreshQueued() {
    for (const id of this.gallery.idsIn("queued")) {
      this.#refresh(id);
    }
  }

  /** The server does not have it (any more), or cannot be reached. @param {Card} card @param {unknown} error */
  #onLoss(card, error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    if (error.status !== 404) {
      return; // asked again when the stream is back
    }
    const { generation } = card;
    this.hub.forget(generation.id);
    history.forget(generation.id);
    generation.lose(generation.phase === "succeeded" ? EXPIRED : GONE);
    this.#update(card);
  }

  /** @param {Card} card */
  async #cancel(card) {
    card.generation.cancelling = true;
    this.#update(card);
    try {
      this.#onRecord(card, await cancelGeneration(card.generation.id));
    } catch (error) {
      card.generation.cancelling = false;
      this.#update(card);
      this.#onLoss(card, error);
    }
  }

  /** @param {Card} card */
  #remove(card) {
    history.forget(card.generation.id);
    this.gallery.remove(card);
  }

  /** @param {Card} card */
  #update(card) {
    card.render();
    this.gallery.count();
  }
}

/** A lively preview, no larger than it is shown. @param {Card} card */
function previewOptions(card) {
  const [smallest, largest] = PREVIEW_BOUNDS;
  const shown = Math.ceil(card.element.clientWidth * devicePixelRatio);
  const steps = card.generation.settings.num_inference_steps ?? 0;
  return {
    preview_every: steps <= EVERY_STEP_UP_TO ? 1 : 2,
    preview_size: Math.min(Math.max(shown, smallest), largest),
  };
}
