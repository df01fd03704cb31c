/** A picture as large as the window allows, still sharpening if it is; the arrow keys go on to the others. */

import { byId } from "./dom.js";
import { Print, printIn } from "./print.js";

const SELECTOR = ".print:not(:disabled)";

export class Viewer {
  /** The one that is shown. @type {HTMLElement|null} */
  #frame = null;

  constructor() {
    this.dialog = /** @type {HTMLDialogElement} */ (byId("viewer"));
    this.print = new Print(/** @type {HTMLButtonElement} */ (this.dialog.querySelector(".large")));
    this.caption = byId("viewer-caption");
    document.addEventListener("click", ({ target }) => this.#onClick(/** @type {HTMLElement} */ (target)));
    document.addEventListener("picture", ({ target }) => target === this.#frame && this.#show());
    this.dialog.addEventListener("close", () => this.#onClose());
    this.dialog.addEventListener("keydown", (event) => this.#onKey(event));
    byId("viewer-before").addEventListener("click", () => this.#go(-1));
    byId("viewer-after").addEventListener("click", () => this.#go(1));
  }

  /** @param {HTMLElement} target */
  #onClick(target) {
    const frame = /** @type {HTMLElement|null} */ (target.closest(SELECTOR));
    if (frame) {
      this.#turnTo(frame);
      this.dialog.showModal();
    } else if (target === this.dialog) {
      this.dialog.close(); // beside the picture
    }
  }

  /** @param {KeyboardEvent} event */
  #onKey({ key }) {
    if (key === "ArrowLeft" || key === "ArrowRight") {
      this.#go(key === "ArrowLeft" ? -1 : 1);
    }
  }

  /** @param {number} by */
  #go(by) {
    const frames = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(SELECTOR)]);
    const next = frames[this.#frame ? frames.indexOf(this.#frame) + by : 0];
    if (next) {
      this.#turnTo(next);
    }
  }

  /** @param {HTMLElement} frame */
  #turnTo(frame) {
    this.#frame = frame;
    this.print.clear();
    this.print.frame.style.aspectRatio = frame.style.aspectRatio;
    this.print.frame.style.setProperty("--ratio", frame.style.aspectRatio || "1");
    this.#show();
  }

  #show() {
    const picture = this.#frame && printIn(this.#frame)?.picture;
    if (picture) {
      this.caption.textContent = picture.description;
      this.print.show(picture);
    }
  }

  #onClose() {
    this.#frame?.focus();
    this.#frame = null;
    this.print.clear();
  }
}
