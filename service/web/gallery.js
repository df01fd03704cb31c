/** The cards, newest first, and a line that counts them. */

const TITLE = document.title;

export class Gallery {
  /** Newest first. @type {import("./card.js").Card[]} */
  cards = [];

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} tally
   * @param {HTMLElement} empty what stands there instead of cards
   * @param {HTMLButtonElement} clear the button that removes what is over
   */
  constructor(list, tally, empty, clear) {
    this.list = list;
    this.tally = tally;
    this.empty = empty;
    this.clear = clear;
  }

  /** In the order of their making, which another tab may have seen earlier. @param {import("./card.js").Card} card */
  add(card) {
    const older = this.cards.findIndex((other) => other.generation.at <= card.generation.at);
    const place = older < 0 ? this.cards.length : older;
    this.list.insertBefore(card.element, this.cards[place]?.element ?? null);
    this.cards.splice(place, 0, card);
    this.count();
  }

  /** The focus moves on to a neighbour, so that the keyboard is not lost. @param {import("./card.js").Card} card */
  remove(card) {
    const hadFocus = card.element.contains(document.activeElement);
    const place = this.cards.indexOf(card);
    this.cards = this.cards.filter((other) => other !== card);
    card.dispose();
    this.count();
    if (hadFocus) {
      const neighbour = this.cards[Math.min(place, this.cards.length - 1)];
      neighbour ? neighbour.focus() : document.getElementById("prompt")?.focus();
    }
  }

  /** @param {string} id the server's */
  find(id) {
    return this.cards.find((card) => card.generation.id === id);
  }

  /** @param {string} key this browser's */
  get(key) {
    return this.cards.find((card) => card.generation.key === key);
  }

  /** Say how many there are. */
  count() {
    const live = [
      [this.#countOf("sending", "held", "queued"), "waiting"],
      [this.#countOf("running"), "forming"],
    ];
    const over = [
      [this.#countOf("succeeded"), "done"],
      [this.#countOf("failed", "refused", "gone"), "failed"],
    ];
    this.tally.textContent = inWords([...live, ...over]);
    document.title = [inWords(live), TITLE].filter(Boolean).join(" · ");
    this.empty.hidden = this.cards.length > 0;
    this.clear.hidden = this.cards.every(({ generation }) => generation.isLive);
  }

  /** @param {...import("./generation.js").Phase} phases */
  #countOf(...phases) {
    return this.cards.filter((card) => phases.includes(card.generation.phase)).length;
  }
}

/** @param {[number, string][]} counts */
function inWords(counts) {
  return counts.filter(([number]) => number > 0).map(([number, name]) => `${number} ${name}`).join(" · ");
}
