/** A picture that sharpens without flicker: the next image is shown when it is decoded, laid over the one before. */

const FADE_MS = 160;
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

export class Print {
  #asked = 0;
  #shown = 0;

  /** @param {HTMLElement} frame */
  constructor(frame) {
    this.frame = frame;
  }

  get isEmpty() {
    return this.frame.childElementCount === 0;
  }

  /** @param {string} source @param {string} description for those who cannot see it @param {boolean} isFinal */
  async show(source, description, isFinal) {
    const turn = ++this.#asked;
    const image = new Image();
    image.alt = description;
    image.src = source;
    image.classList.toggle("final", isFinal);
    try {
      await image.decode();
    } catch {
      return;
    }
    if (turn < this.#shown) {
      return;
    }
    this.#shown = turn;
    this.#lay(image);
  }

  clear() {
    this.#shown = ++this.#asked;
    this.frame.replaceChildren();
  }

  /** @param {HTMLImageElement} image */
  #lay(image) {
    const under = /** @type {HTMLImageElement|null} */ (this.frame.lastElementChild);
    this.frame.replaceChildren(...(under ? [under] : []), image);
    if (!under) {
      return;
    }
    under.alt = "";
    under.getAnimations().forEach((animation) => animation.finish());
    const fade = image.animate([{ opacity: 0 }, { opacity: 1 }], { duration: stillness.matches ? 0 : FADE_MS });
    fade.finished.then(() => under.remove()).catch(() => {});
  }
}
