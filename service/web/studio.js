/** The life of every generation on this page: sent, watched, finished, remembered. */

import { announce } from "./announcer.js";
import { ApiError, cancelGeneration, createGeneration, getGeneration, getImage } from "./api.js";
import { Card } from "./card.js";
import { EventHub } from "./events.js";
import { Generation } from "./generation.js";
import * as history from "./history.js";
import * as keys from "./keys.js";
import * as pictures from "./pictures.js";

const EVERY_STEP_UP_TO = 30; // longer ones show every other step
const PREVIEW_BOUNDS = [64, 1024]; // pixels
const ATTEND_MS = 1000;
const NEWS_DUE_MS = { queued: 2000, running: 6000 }; // the stream tells nothing of a place in the queue
const CANCEL_AGAIN_MS = 2000; // whatever the stream tells meanwhile
const HOLD_SECONDS = 2;
const GONE = "The server no longer knows this picture. It may have been restarted.";
const EXPIRED = "Done, but the server no longer keeps the picture.";
const UNSENT = "This was not sent: the page was left too early.";

/** What is said of a change. @type {Record<string, string>} */
const NEWS = {
  queued: "In line",
  held: "Waiting for the model",
  refused: "Not taken",
  succeeded: "Finished",
  failed: "Failed",
  cancelled: "Cancelled",
  gone: "Lost",
};

/**
 * @typedef {object} StudioListener
 * @property {(errors: import("./api.js").FieldError[], message: string) => void} invalid faults in the settings
 * @property {(settings: import("./api.js").Settings) => void} reuse
 * @property {(connected: boolean, reason: string) => void} connection the stream of events was lost, or is back;
 *   `reason`: why the server refuses it, empty where that is not known
 * @property {() => void} doubt the server does not answer as it should
 */

export class Studio {
  #isServerReady = false;
  /** Cards whose pictures are being fetched. @type {WeakSet<Card>} */
  #fetching = new WeakSet();

  /** @param {import("./gallery.js").Gallery} gallery @param {StudioListener} listener */
  constructor(gallery, listener) {
    this.gallery = gallery;
    this.listener = listener;
    this.hub = new EventHub({
      event: (name, data) => this.#onEvent(name, data),
      connection: (connected, reason) => this.#onConnection(connected, reason),
      doubt: async (ids) => void (await Promise.all(ids.map((id) => this.#refresh(this.gallery.find(id))))),
    });
    this.actions = {
      cancel: (card) => this.#cancel(card),
      retry: (card) => this.#send(card),
      reseed: (card) => this.submit({ ...card.generation.settings, seed: undefined }),
      reuse: (card) => listener.reuse(card.generation.reusableSettings),
      remove: (card) => this.#remove(card),
    };
    keys.onChange(() => this.#changeOwner());
    history.listen({
      kept: (snapshot) => this.#onKept(snapshot),
      forgotten: (key) => this.#drop(this.gallery.get(key)),
    });
    setInterval(() => this.gallery.cards.forEach((card) => card.renderState()), ATTEND_MS);
    this.#attend();
  }

  /** @param {import("./api.js").Settings} settings @param {boolean} [isFromForm] which is told of faults in them */
  async submit(settings, isFromForm = false) {
    const card = new Card(new Generation(settings), this.actions);
    this.gallery.add(card);
    await this.#send(card, isFromForm);
  }

  /** Bring back what this browser asked for before: finished pictures, and those that still form. */
  restore() {
    this.#bringBackKept();
    for (const snapshot of history.takeUnsent(keys.owner())) {
      const card = this.gallery.get(snapshot.key) ?? this.#bringBack(snapshot);
      card.generation.refuse(UNSENT);
      this.#update(card);
    }
    pictures.prune(history.keptKeys);
  }

  /** @param {import("./health.js").State} state */
  onHealth({ status }) {
    this.#isServerReady = status === "ready";
    this.#setHeard(status !== "unreachable");
    if (status !== "unreachable") {
      this.hub.reopen();
      this.gallery.cards.forEach((card) => this.#refresh(card));
    }
  }

  /** Removes all that is over. */
  clear() {
    this.gallery.cards.filter((card) => !card.generation.isLive).forEach((card) => this.#remove(card));
  }

  /** Removes all that this key has left in this browser. */
  forgetOwner() {
    history.takeUnsent(keys.owner());
    for (const { key } of history.entries(keys.owner())) {
      history.forget(key);
      pictures.remove(key);
    }
  }

  /** @param {Card} card @param {boolean} [isFromForm] */
  async #send(card, isFromForm = false) {
    const { generation } = card;
    generation.restart();
    card.clear();
    this.#update(card);
    try {
      this.#follow(card, await createGeneration({ ...generation.settings, ...previewOptions(card) }));
    } catch (error) {
      this.#onRefusal(card, apiError(error), isFromForm);
    }
  }

  /** @param {Card} card @param {ApiError} error @param {boolean} isFromForm */
  #onRefusal(card, error, isFromForm) {
    if (error.status === 422 && isFromForm) {
      this.#remove(card);
      this.listener.invalid(error.fieldErrors, error.message);
      return;
    }
    if (error.code === "not_ready") {
      card.generation.hold(error.retryAfter ?? HOLD_SECONDS);
    } else {
      card.generation.refuse(error.message, error.retryAfter);
    }
    this.#update(card);
    if (error.status === 0 || error.status === 503) {
      this.listener.doubt();
    }
  }

  #bringBackKept() {
    history.entries(keys.owner()).forEach((snapshot) => this.#bringBack(snapshot));
  }

  /** @param {import("./generation.js").Snapshot} snapshot */
  #bringBack(snapshot) {
    const card = new Card(Generation.from(snapshot), this.actions);
    this.gallery.add(card);
    this.#resume(card);
    return card;
  }

  /** Go on with one whose past was elsewhere. @param {Card} card */
  #resume(card) {
    if (card.generation.isOnServer) {
      this.hub.watch(card.generation.id);
      this.#refresh(card);
    } else if (card.generation.phase === "succeeded") {
      this.#showPictures(card);
    }
  }

  /** Another tab knows more of one, or of a new one. @param {import("./generation.js").Snapshot} snapshot */
  #onKept(snapshot) {
    if (snapshot.owner !== keys.owner()) {
      return;
    }
    const card = this.gallery.get(snapshot.key);
    if (!card) {
      this.#bringBack(snapshot);
    } else if (card.generation.id !== snapshot.id || !card.generation.isLive) {
      this.#replace(card, snapshot);
    } else {
      this.#refresh(card);
    }
  }

  /** It was tried again in another tab. @param {Card} card @param {import("./generation.js").Snapshot} snapshot */
  #replace(card, snapshot) {
    const { id, phase } = card.generation;
    if (id === snapshot.id && phase === snapshot.phase) {
      return;
    }
    this.hub.forget(id);
    card.generation.take(snapshot);
    card.clear();
    this.#show(card);
    this.#resume(card);
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
      this.#show(card);
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
    if (card.generation.isOnServer) {
      this.#follow(card, record);
    }
  }

  /** @param {Card} card */
  #onEnd(card) {
    this.hub.forget(card.generation.id);
    if (card.generation.phase === "succeeded") {
      this.#showPictures(card);
    } else if (card.generation.phase === "failed") {
      this.listener.doubt(); // it may have been the model
    }
  }

  /** From this browser, or else from the server. @param {Card} card */
  async #showPictures(card) {
    if (this.#fetching.has(card)) {
      return;
    }
    this.#fetching.add(card);
    const { key, id } = card.generation;
    try {
      const found = (await pictures.load(key)) ?? (await this.#fetchPictures(card));
      if (card.generation.id === id) {
        await card.showFinal(found);
      }
    } catch (error) {
      this.#onLoss(card, id, apiError(error));
    } finally {
      this.#fetching.delete(card);
    }
  }

  /** @param {Card} card @returns {Promise<Blob[]>} */
  async #fetchPictures({ generation: { key, id, numImages } }) {
    const fetched = await Promise.all(Array.from({ length: numImages }, (_, index) => getImage(id, index)));
    await pictures.save(key, fetched);
    return fetched;
  }

  /**
   * Ask what has become of one, or have it cancelled, until that is heard.
   * @param {Card|undefined} card
   * @returns {Promise<boolean>} whether it has come further than was told
   */
  async #refresh(card) {
    if (!card?.generation.isOnServer) {
      return false;
    }
    const { id, cancelling } = card.generation;
    card.askedAt = Date.now();
    try {
      const record = await (cancelling ? cancelGeneration(id) : getGeneration(id));
      if (card.generation.id !== id) {
        return false;
      }
      const isFurther = record.step > card.generation.step;
      this.#onRecord(card, record);
      return isFurther;
    } catch (error) {
      card.generation.cancelling &&= apiError(error).status === 0;
      this.#onLoss(card, id, apiError(error));
      this.#show(card);
      return false;
    }
  }

  /**
   * The server does not have it (any more), or cannot be reached: then it is asked again when it answers.
   * @param {Card} card
   * @param {string} id
   * @param {ApiError} error
   */
  #onLoss(card, id, error) {
    const { generation } = card;
    if (generation.id !== id || this.gallery.get(generation.key) !== card) {
      return;
    }
    this.listener.doubt();
    if (error.status === 404) {
      this.hub.forget(id);
      generation.lose(generation.phase === "succeeded" ? EXPIRED : GONE);
      this.#update(card);
    }
  }

  /** Whatever the stream does not tell, or should have told: as long as the page is open. */
  async #attend() {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, ATTEND_MS));
      for (const card of this.#isServerReady ? this.gallery.cards : []) {
        await this.#attendTo(card);
      }
    }
  }

  /** @param {Card} card */
  async #attendTo(card) {
    const { phase, retryAt, toldAt, isOnServer, cancelling } = card.generation;
    const now = Date.now();
    if (phase === "held" && now >= retryAt) {
      await this.#send(card);
    } else if (cancelling && isOnServer && now - card.askedAt > CANCEL_AGAIN_MS) {
      await this.#refresh(card);
    } else if (now - Math.max(toldAt, card.askedAt) > NEWS_DUE_MS[phase]) {
      if (await this.#refresh(card)) {
        this.hub.replace();
      }
    } else if (phase === "succeeded" && !card.hasPictures) {
      await this.#showPictures(card);
    }
  }

  /** @param {boolean} connected @param {string} reason */
  #onConnection(connected, reason) {
    this.#setHeard(connected);
    this.listener.connection(connected, reason);
  }

  /** @param {boolean} isHeard */
  #setHeard(isHeard) {
    for (const card of this.gallery.cards.filter(({ generation }) => generation.isOnServer)) {
      card.generation.isUnheard = !isHeard;
      card.render();
    }
  }

  /** @param {Card} card */
  async #cancel(card) {
    if (card.generation.phase === "held") {
      card.generation.withdraw();
      this.#update(card);
      return;
    }
    card.generation.cancelling = true;
    this.#update(card); // kept, so that a reload does not forget it
    await this.#refresh(card);
  }

  /** @param {Card} card */
  #remove(card) {
    const { key } = card.generation;
    history.forget(key);
    pictures.remove(key);
    this.#drop(card);
  }

  /** From this page, not from the history. @param {Card|undefined} card */
  #drop(card) {
    if (card) {
      this.hub.forget(card.generation.id);
      this.gallery.remove(card);
    }
  }

  /** Only those of whoever has the key now are shown; what is being sent becomes theirs. */
  #changeOwner() {
    this.gallery.cards.filter(({ generation }) => generation.phase !== "sending").forEach((card) => this.#drop(card));
    this.#bringBackKept();
  }

  /** Its phase may be another one now. @param {Card} card */
  #update(card) {
    const { phase, settings } = card.generation;
    for (const key of history.keep(card.generation.snapshot(keys.owner()))) {
      pictures.remove(key);
      this.#drop(this.gallery.get(key));
    }
    this.#show(card);
    if (card.toldPhase !== phase && NEWS[phase]) {
      announce(`${NEWS[phase]}: ${settings.prompt}`);
    }
    card.toldPhase = phase;
  }

  /** @param {Card} card */
  #show(card) {
    card.render();
    this.gallery.count();
  }
}

/** A lively preview, no larger than it is shown. @param {Card} card */
function previewOptions(card) {
  const [smallest, largest] = PREVIEW_BOUNDS;
  const shown = Math.ceil(card.pictureWidth * devicePixelRatio);
  const steps = card.generation.settings.num_inference_steps ?? 0;
  return {
    preview_every: steps <= EVERY_STEP_UP_TO ? 1 : 2,
    preview_size: Math.min(Math.max(shown, smallest), largest),
  };
}

/** Anything else is a fault of this page. @param {unknown} error @returns {ApiError} */
function apiError(error) {
  if (error instanceof ApiError) {
    return error;
  }
  throw error;
}
