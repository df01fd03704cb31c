/** A picture that sharpens without flicker: the next image is shown when it is decoded, laid over the one before. */

const FADE_MS = 160;
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

/**
 * `description` is for those who cannot see it.
 * @typedef {{source: string, description: string, isFinal: boolean}} Picture
 */

/** @type {WeakMap<Element, Print>} */
const prints = new WeakMap();

/** The one in that frame. @param {Element} frame */
export function printIn(frame) {
  return prints.get(frame);
}

export class Print {
  /** The newest that still waits for the one before it. @type {Picture|null} */
  #next = null;
  /** @type {Promise<void>|null} */
  #laying = null;
  #sheet = 0;
  /** What is shown. @type {Picture|null} */
  picture = null;

  /** @param {HTMLButtonElement} frame */
  constructor(frame) {
    this.frame = frame;
    prints.set(frame, this);
  }

  /** Returns when it is shown, or a newer one. @param {Picture} picture */
  async show(picture) {
    this.#next = picture;
    this.#laying ??= this.#layAll();
    await this.#laying;
  }

  clear() {
    this.#next = null;
    this.#sheet += 1;
    this.picture = null;
    this.frame.disabled = true;
    this.frame.replaceChildren();
  }

  async #layAll() {
    while (this.#next) {
      const picture = this.#next;
      this.#next = null;
      await this.#lay(picture);
    }
    this.#laying = null;
  }

  /** @param {Picture} picture */
  async #lay(picture) {
    const sheet = this.#sheet;
    const image = new Image();
    image.alt = picture.description;
    image.src = picture.source;
    image.classList.toggle("final", picture.isFinal);
    const isDecoded = await image.decode().then(() => true, () => false);
    if (!isDecoded || sheet !== this.#sheet) {
      return;
    }
    const under = /** @type {HTMLImageElement[]} */ ([...this.frame.children]);
    under.forEach((other) => (other.alt = ""));
    this.frame.append(image);
    this.frame.disabled = false;
    this.picture = picture;
    this.frame.dispatchEvent(new CustomEvent("picture", { bubbles: true }));
    await (under.length > 0 && fadeIn(image));
    under.forEach((other) => other.remove());
  }
}

/** @param {HTMLImageElement} image */
async function fadeIn(image) {
  if (stillness.matches || document.hidden) {
    return;
  }
  await image.animate([{ opacity: 0 }, { opacity: 1 }], FADE_MS).finished.catch(() => {});
}
