/** The cards, newest first, and a line that counts them. */

export class Gallery {
  /** @type {Set<import("./card.js").Card>} */
  #cards = new Set();

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} tally
   * @param {HTMLElement} empty what stands there instead of cards
   */
  constructor(list, tally, empty) {
    this.list = list;
    this.tally = tally;
    this.empty = empty;
  }

  /** @param {import("./card.js").Card} card */
  add(card) {
    this.#cards.add(card);
    this.list.prepend(card.element);
    this.count();
  }

  /** The focus moves on to a neighbour, so that the keyboard is not lost. @param {import("./card.js").Card} card */
  remove(card) {
    const hadFocus = card.element.contains(document.activeElement);
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    this.#cards.delete(card);
    card.dispose();
    this.count();
    if (hadFocus) {
      const neighbour = [...this.#cards].find((other) => other.element === next);
      neighbour ? neighbour.focus() : document.getElementById("prompt")?.focus();
    }
  }

  /** @param {string} id */
  find(id) {
    return [...this.#cards].find((card) => card.generation.id === id);
  }

  /** @param {import("./generation.js").Phase} phase */
  idsIn(phase) {
    return this.#inPhases(phase).map((card) => card.generation.id);
  }

  /** Say how many there are; screen readers hear it when it changes. */
  count() {
    const counts = [
      [this.#inPhases("sending", "queued").length, "waiting"],
      [this.#inPhases("running").length, "forming"],
      [this.#inPhases("succeeded").length, "done"],
      [this.#inPhases("failed", "refused", "gone").length, "failed"],
    ];
    const words = counts.filter(([number]) => number > 0).map(([number, name]) => `${number} ${name}`);
    const text = words.join(" · ");
    if (this.tally.textContent !== text) {
      this.tally.textContent = text;
    }
    this.empty.hidden = this.#cards.size > 0;
  }

  /** @param {...import("./generation.js").Phase} phases */
  #inPhases(...phases) {
    return [...this.#cards].filter((card) => phases.includes(card.generation.phase));
  }
}
