/** One generation on the page: its picture, how far it has come, and what can be done with it. */

import { Print } from "./print.js";
import { duration, fileName } from "./words.js";

/**
 * What the buttons of a card do.
 * @typedef {object} CardActions
 * @property {(card: Card) => void} cancel
 * @property {(card: Card) => void} retry
 * @property {(card: Card) => void} reuse
 * @property {(card: Card) => void} remove
 */

const COPIED_MS = 1500;

/** Per phase, the words for it. @type {Record<string, (generation: import("./generation.js").Generation) => string>} */
const STATES = {
  sending: () => "Asking the server…",
  refused: ({ message }) => message,
  queued: waiting,
  running: ({ step, totalSteps }) => (step === 0 ? "Starting…" : `Step ${step} of ${totalSteps}`),
  succeeded: ({ seconds }) => (seconds === null ? "Done" : `Done in ${duration(seconds)}`),
  failed: ({ message }) => `Failed: ${message}`,
  cancelled: () => "Cancelled",
  gone: ({ message }) => message,
};

const RETRYABLE = new Set(["refused", "failed", "cancelled", "gone"]);

export class Card {
  #imageUrl = "";

  /** @param {import("./generation.js").Generation} generation @param {CardActions} actions */
  constructor(generation, actions) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("card-template"));
    const root = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.generation = generation;
    this.element = /** @type {HTMLElement} */ (root.firstElementChild);
    this.print = new Print(this.#part("print"));
    this.#part("prompt").textContent = generation.settings.prompt;
    this.#part("prompt").title = generation.settings.prompt;
    for (const name of ["cancel", "retry", "reuse", "remove"]) {
      const button = this.#part(name);
      button.setAttribute("aria-label", `${button.title || button.textContent}: ${generation.settings.prompt}`);
      button.addEventListener("click", () => actions[name](this));
    }
    this.#part("seed").addEventListener("click", () => this.#copySeed());
    this.render();
  }

  render() {
    const { generation } = this;
    this.element.dataset.phase = generation.phase;
    this.element.dataset.id = generation.id;
    this.#part("state").textContent = generation.isStopping ? "Cancelling…" : STATES[generation.phase](generation);
    this.#renderFrame();
    this.#renderProgress();
    this.#renderMeta();
    this.#renderActions();
  }

  /** @param {{image: string, content_type: string, step: number, total_steps: number}} preview */
  async showPreview(preview) {
    const { prompt } = this.generation.settings;
    const description = `${prompt}, forming: step ${preview.step} of ${preview.total_steps}`;
    await this.print.show(`data:${preview.content_type};base64,${preview.image}`, description, false);
  }

  /** @param {Blob} image */
  async showFinal(image) {
    const { settings, seed } = this.generation;
    this.#imageUrl = URL.createObjectURL(image);
    const link = /** @type {HTMLAnchorElement} */ (this.#part("download"));
    link.href = this.#imageUrl;
    link.download = fileName(settings.prompt, seed, image.type);
    link.setAttribute("aria-label", `Download: ${settings.prompt}`);
    this.#renderActions();
    await this.print.show(this.#imageUrl, settings.prompt, true);
  }

  focus() {
    this.#part("prompt").focus();
  }

  dispose() {
    this.element.remove();
    URL.revokeObjectURL(this.#imageUrl);
  }

  #renderFrame() {
    const { width, height } = this.generation;
    const frame = this.#part("print");
    if (width && height) {
      frame.style.aspectRatio = `${width} / ${height}`;
      frame.style.width = `${Math.min(100, (100 * width) / height)}%`;
    }
  }

  #renderProgress() {
    const { isLive, step, totalSteps, phase } = this.generation;
    const progress = /** @type {HTMLProgressElement} */ (this.#part("progress"));
    progress.max = Math.max(totalSteps, 1);
    progress.value = phase === "succeeded" ? progress.max : step;
    progress.classList.toggle("over", !isLive);
    progress.setAttribute("aria-label", `Progress of ${this.generation.settings.prompt}`);
  }

  #renderMeta() {
    const { width, height, seed, truncated } = this.generation;
    this.#part("size").textContent = width && height ? `${width} × ${height}` : "";
    this.#part("truncated").hidden = !truncated;
    const button = this.#part("seed");
    button.hidden = seed === null;
    button.textContent = `seed ${seed}`;
    button.setAttribute("aria-label", `Copy seed ${seed}`);
  }

  #renderActions() {
    const { phase, isLive, cancelling } = this.generation;
    this.#part("cancel").hidden = !isLive || phase === "sending";
    /** @type {HTMLButtonElement} */ (this.#part("cancel")).disabled = cancelling;
    this.#part("retry").hidden = !RETRYABLE.has(phase);
    this.#part("download").hidden = this.#imageUrl === "";
    this.#part("reuse").hidden = isLive;
    this.#part("remove").hidden = isLive;
  }

  async #copySeed() {
    const button = this.#part("seed");
    await copyText(String(this.generation.seed));
    button.focus();
    button.textContent = "seed copied";
    setTimeout(() => this.#renderMeta(), COPIED_MS);
  }

  /** @param {string} name @returns {HTMLElement} */
  #part(name) {
    return /** @type {HTMLElement} */ (this.element.querySelector(`.${name}`));
  }
}

/** @param {import("./generation.js").Generation} generation */
function waiting({ queuePosition, etaSeconds }) {
  const place = queuePosition ? `Waiting, ${queuePosition} ahead` : "Next in line";
  return etaSeconds === null ? place : `${place}, about ${duration(etaSeconds)}`;
}

/** @param {string} text */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copyBySelection(text); // plain http from another host has no clipboard, or the reader denied it
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
