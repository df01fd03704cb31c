/** What single keys do: on the whole page, and for the picture that has the focus. */

import { byId } from "./dom.js";
import { readItem, writeItem } from "./storage.js";

const NAME = "latentcast.shortcuts";
const OFF = "off";

/** By key, the buttons of a card that may be meant; the first one that can be seen is pressed. */
const CARD_KEYS = {
  c: ".cancel",
  r: ".retry",
  n: ".reseed",
  d: ".download",
  l: ".copy-link",
  Delete: ".remove",
};

const STEPS = { j: 1, k: -1 };

export class Shortcuts {
  constructor() {
    this.dialog = /** @type {HTMLDialogElement} */ (byId("help"));
    this.allowed = /** @type {HTMLInputElement} */ (byId("shortcuts"));
    this.allowed.checked = readItem("localStorage", NAME) !== OFF;
    this.allowed.addEventListener("change", () => writeItem("localStorage", NAME, this.allowed.checked ? null : OFF));
    byId("help-button").addEventListener("click", () => this.dialog.showModal());
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const { key, target } = event;
    const isMeantForAnother = event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(target);
    if (!this.allowed.checked || isMeantForAnother || document.querySelector("dialog[open]")) {
      return;
    }
    if (this.#act(key.length === 1 ? key.toLowerCase() : key)) {
      event.preventDefault();
    }
  }

  /** @param {string} key @returns {boolean} whether it means something here */
  #act(key) {
    if (key === "/") {
      byId("prompt").focus();
    } else if (key === "?") {
      this.dialog.showModal();
    } else if (key in STEPS) {
      goToCard(STEPS[key]);
    } else {
      return press(CARD_KEYS[key]);
    }
    return true;
  }
}

/** @param {EventTarget|null} target */
function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=checkbox]), textarea, select");
}

function focusedCard() {
  return document.activeElement?.closest(".card");
}

/** @param {number} by */
function goToCard(by) {
  const cards = [...document.querySelectorAll(".card")];
  const focused = focusedCard();
  const next = focused ? cards[cards.indexOf(focused) + by] : cards[0];
  /** @type {HTMLElement|null|undefined} */ (next?.querySelector(".prompt"))?.focus();
}

/** @param {string|undefined} selector @returns {boolean} whether there was something to press */
function press(selector) {
  const element = selector && /** @type {HTMLElement|null|undefined} */ (focusedCard()?.querySelector(selector));
  if (!element || element.closest(":is([hidden], :disabled)")) {
    return false;
  }
  element.click();
  return true;
}
