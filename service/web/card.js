/** One generation on the page: its picture, how far it has come, and what can be done with it. */

import { announce } from "./announcer.js";
import { copyText } from "./clipboard.js";
import { Menu } from "./menu.js";
import { Print } from "./print.js";
import { asCurl, asLink, asPython } from "./snippets.js";
import { about, duration, fileName, sentence } from "./words.js";

/**
 * What the buttons of a card do.
 * @typedef {object} CardActions
 * @property {(card: Card) => void} cancel
 * @property {(card: Card) => void} retry
 * @property {(card: Card) => void} reseed
 * @property {(card: Card) => void} reuse
 * @property {(card: Card) => void} remove
 */

/** @typedef {import("./generation.js").Generation} Generation */

const COPIED_MS = 1500;
const ACTIONS = ["cancel", "retry", "reseed", "reuse", "remove"];

/** @typedef {import("./api.js").Settings} Settings */

/** What can be copied, by the class of its button. @type {Record<string, (settings: Settings) => string>} */
const COPIES = { "copy-link": asLink, "copy-curl": asCurl, "copy-python": asPython };

/** Per phase, the words for it. @type {Record<string, (generation: Generation, hasPictures: boolean) => string>} */
const STATES = {
  sending: () => "Asking the server…",
  held: () => "Waiting for the model…",
  refused: refusal,
  queued: place,
  running: progress,
  succeeded: outcome,
  failed: ({ message }) => `Failed: ${message}`,
  cancelled: () => "Cancelled",
  gone: ({ message }) => message,
};

const RETRYABLE = new Set(["refused", "failed", "cancelled", "gone"]);

export class Card {
  /** Of the finished pictures. @type {string[]} */
  #imageUrls = [];
  #isCopied = false;
  /** The phase that screen readers have heard of. */
  toldPhase = "";
  /** Milliseconds: when the server was last asked about it. */
  askedAt = 0;

  /** @param {Generation} generation @param {CardActions} actions */
  constructor(generation, actions) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("card-template"));
    const root = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.generation = generation;
    this.element = /** @type {HTMLElement} */ (root.firstElementChild);
    this.element.dataset.pictures = String(generation.numImages);
    this.prints = this.#mounts().map((mount) => new Print(/** @type {HTMLButtonElement} */ (mount.firstElementChild)));
    this.menu = new Menu(/** @type {HTMLDetailsElement} */ (this.#part("menu")));
    this.#name();
    for (const name of ACTIONS) {
      this.#part(name).addEventListener("click", () => actions[name](this));
    }
    for (const [name, write] of Object.entries(COPIES)) {
      this.#part(name).addEventListener("click", () => this.#copy(write(generation.reusableSettings)));
    }
    this.#part("seed").addEventListener("click", () => this.#copySeed());
    this.render();
  }

  render() {
    const { generation } = this;
    this.element.dataset.phase = generation.phase;
    this.element.dataset.id = generation.id;
    this.element.toggleAttribute("data-unheard", generation.isUnheard);
    this.renderState();
    this.#renderFrame();
    this.#renderProgress();
    this.#renderMeta();
    this.#renderActions();
  }

  /** Also when nothing but time has passed. */
  renderState() {
    setText(this.#part("state"), this.#state());
    setText(this.#part("left"), this.#left());
  }

  /** How wide a picture is shown, in CSS pixels. */
  get pictureWidth() {
    return this.#part("mount").clientWidth;
  }

  get hasPictures() {
    return this.#imageUrls.length > 0;
  }

  clear() {
    this.prints.forEach((print) => print.clear());
    this.#revokeUrls();
    this.#part("downloads").replaceChildren();
  }

  /** @param {{image: string, image_index: number, content_type: string, step: number, total_steps: number}} preview */
  async showPreview({ image, image_index: index, content_type: type, step, total_steps: totalSteps }) {
    const description = `${this.nameOf(index)}, forming: step ${step} of ${totalSteps}`;
    await this.prints[index]?.show({ source: `data:${type};base64,${image}`, description, isFinal: false });
  }

  /** @param {Blob[]} images */
  async showFinal(images) {
    this.#revokeUrls();
    this.#imageUrls = images.map((image) => URL.createObjectURL(image));
    this.#part("downloads").replaceChildren(...images.map((image, index) => this.#downloadLink(image, index)));
    this.render();
    const shown = this.#imageUrls.map((source, index) =>
      this.prints[index].show({ source, description: this.nameOf(index), isFinal: true }),
    );
    await Promise.all(shown);
  }

  focus() {
    this.#part("prompt").focus();
  }

  dispose() {
    this.element.remove();
    this.#revokeUrls();
  }

  /** @param {number} index of a picture */
  nameOf(index) {
    const { settings, numImages } = this.generation;
    return numImages === 1 ? settings.prompt : `${settings.prompt}, ${index + 1} of ${numImages}`;
  }

  /** A place for each picture. @returns {HTMLElement[]} */
  #mounts() {
    const mount = this.#part("mount");
    const more = Array.from({ length: this.generation.numImages - 1 }, () => mount.cloneNode(true));
    mount.after(...more);
    return [...this.#part("tray").children].map((child) => /** @type {HTMLElement} */ (child));
  }

  /** Every control is told with the prompt that it belongs to. */
  #name() {
    const { prompt } = this.generation.settings;
    this.#part("prompt").textContent = prompt;
    this.#part("prompt").title = prompt;
    for (const button of this.element.querySelectorAll("button, summary")) {
      button.setAttribute("aria-label", `${button.title || button.textContent}: ${prompt}`);
    }
    this.prints.forEach(({ frame }, index) => frame.setAttribute("aria-label", `View large: ${this.nameOf(index)}`));
    this.#part("progress").setAttribute("aria-label", `Progress of ${prompt}`);
  }

  /** @param {Blob} image @param {number} index */
  #downloadLink(image, index) {
    const { settings, numImages } = this.generation;
    const link = document.createElement("a");
    link.className = "download";
    link.textContent = numImages === 1 ? "Download" : String(index + 1);
    link.href = this.#imageUrls[index];
    link.download = fileName(settings.prompt, this.generation.seedOf(index), image.type);
    link.setAttribute("aria-label", `Download: ${this.nameOf(index)}`);
    return link;
  }

  #state() {
    const { generation } = this;
    if (generation.isStopping) {
      return "Cancelling…";
    }
    return generation.isUnheard ? "Waiting for the server…" : STATES[generation.phase](generation, this.hasPictures);
  }

  /** How long it still takes, as far as that can be told. */
  #left() {
    const { isOnServer, isUnheard, cancelling } = this.generation;
    const seconds = isOnServer && !isUnheard && !cancelling ? this.generation.secondsLeft(Date.now()) : null;
    return seconds === null ? "" : about(seconds);
  }

  #renderFrame() {
    const { width, height } = this.generation;
    if (!width || !height) {
      return;
    }
    for (const { frame } of this.prints) {
      frame.style.aspectRatio = `${width} / ${height}`;
      frame.style.width = `${Math.min(100, (100 * width) / height)}%`;
    }
  }

  #renderProgress() {
    const { isLive, step, totalSteps, phase } = this.generation;
    const bar = /** @type {HTMLProgressElement} */ (this.#part("progress"));
    bar.max = Math.max(totalSteps, 1);
    bar.value = phase === "succeeded" ? bar.max : step;
    bar.classList.toggle("over", !isLive);
  }

  #renderMeta() {
    const { width, height, seed, numImages, truncated, isLive } = this.generation;
    this.#part("size").textContent = width && height && !isLive ? `${width} × ${height}` : "";
    this.#part("truncated").hidden = !truncated;
    const button = this.#part("seed");
    button.hidden = seed === null;
    const seeds = numImages === 1 ? `seed ${seed}` : `seeds ${seed} to ${this.generation.seedOf(numImages - 1)}`;
    button.textContent = this.#isCopied ? "seed copied" : seeds;
    button.setAttribute("aria-label", `Copy seed ${seed}`);
  }

  #renderActions() {
    const { phase, isLive, cancelling } = this.generation;
    this.#part("cancel").hidden = !isLive || phase === "sending";
    /** @type {HTMLButtonElement} */ (this.#part("cancel")).disabled = cancelling;
    this.#part("retry").hidden = !RETRYABLE.has(phase);
    this.#part("downloads").hidden = !this.hasPictures;
    this.#part("reseed").hidden = isLive || (phase === "succeeded" && !this.hasPictures);
    /** @type {HTMLButtonElement} */ (this.#part("remove")).disabled = isLive;
  }

  /** @param {string} text */
  async #copy(text) {
    await copyText(text);
    this.menu.close("Copied");
    announce("Copied");
  }

  async #copySeed() {
    await copyText(String(this.generation.seed));
    announce("Copied");
    this.#isCopied = true;
    this.#renderMeta();
    setTimeout(() => {
      this.#isCopied = false;
      this.#renderMeta();
    }, COPIED_MS);
  }

  #revokeUrls() {
    this.#imageUrls.forEach((url) => URL.revokeObjectURL(url));
    this.#imageUrls = [];
  }

  /** @param {string} name @returns {HTMLElement} */
  #part(name) {
    return /** @type {HTMLElement} */ (this.element.querySelector(`.${name}`));
  }
}

/** @param {Generation} generation */
function place({ queuePosition }) {
  return queuePosition === null ? "In line" : `Position ${queuePosition + 1}`;
}

/** @param {Generation} generation */
function progress({ step, totalSteps }) {
  return step === 0 ? "Starting" : `Step ${step} of ${totalSteps}`;
}

/** @param {Generation} generation @param {boolean} hasPictures */
function outcome({ seconds }, hasPictures) {
  if (!hasPictures) {
    return "Fetching it…"; // no longer than what follows, so that nothing moves
  }
  return seconds === null ? "Done" : `Done in ${duration(seconds)}`;
}

/** @param {Generation} generation */
function refusal({ message, retryAt }) {
  if (!retryAt) {
    return sentence(message);
  }
  const seconds = Math.ceil((retryAt - Date.now()) / 1000);
  const reason = sentence(message.replace(/; try again \w+$/, ""));
  return `${reason} ${seconds > 0 ? `Try again in ${seconds} s.` : "Try again now."}`;
}

/** @param {HTMLElement} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
