/** A list of actions behind a button. It closes when one is chosen, on Escape, and when something else is touched. */

const TOLD_MS = 1500;

for (const name of ["pointerdown", "focusin"]) {
  document.addEventListener(name, ({ target }) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.toggleAttribute("open", menu.contains(/** @type {Node} */ (target)));
    }
  });
}

export class Menu {
  /** @param {HTMLDetailsElement} details */
  constructor(details) {
    this.details = details;
    this.summary = /** @type {HTMLElement} */ (details.querySelector("summary"));
    this.label = this.summary.textContent ?? "";
    details.addEventListener("keydown", (event) => this.#onKey(event));
    details.addEventListener("click", (event) => this.#onClick(event));
  }

  /** @param {string} told what was done, shown for a moment in place of the button's own label */
  close(told) {
    this.details.open = false;
    this.summary.focus();
    this.summary.textContent = told;
    setTimeout(() => (this.summary.textContent = this.label), TOLD_MS);
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === "Escape" && this.details.open) {
      event.preventDefault();
      this.details.open = false;
      this.summary.focus();
    }
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    if (/** @type {HTMLElement} */ (event.target).closest("button")) {
      this.details.open = false;
    }
  }
}
