/** Asks for the API key, and forgets it. */

import { ApiError, isAccepted } from "./api.js";
import { button, el } from "./dom.js";
import * as keys from "./keys.js";

const SENDABLE = /^[\x21-\x7e]+$/;
const NEEDED = "This service asks for an API key. It is kept in this browser alone.";
const REFUSED = "The key is not accepted any more. Enter another one.";
const HELD = "A key is kept in this browser. Enter another one, or forget it with the pictures made with it.";

export class KeyDialog {
  /** @type {((isThere: boolean) => void)|null} */
  #answer = null;
  /** @type {Promise<boolean>|null} */
  #asking = null;

  /** @param {() => void} [onForget] before the key is forgotten */
  constructor(onForget = () => {}) {
    this.words = el("p", { id: "key-words" });
    const attributes = { id: "key", type: "password", autocomplete: "off", "aria-describedby": "key-words" };
    this.input = /** @type {HTMLInputElement} */ (el("input", attributes));
    this.error = el("p", { class: "error", role: "alert", hidden: true });
    this.forget = button("Forget the key", () => this.#forget(onForget), "quiet");
    const dialog = el("dialog", { class: "sheet", "aria-labelledby": "key-title" }, this.#form());
    this.dialog = /** @type {HTMLDialogElement} */ (dialog);
    this.dialog.addEventListener("close", () => this.#settle(false));
    document.body.append(this.dialog);
    keys.onChange(() => keys.current() && this.#finish());
    keys.onNeed((wasRefused) => this.#ask(wasRefused ? REFUSED : NEEDED));
  }

  /** Because a person wants to see to the key. */
  open() {
    this.#ask(keys.current() ? HELD : NEEDED);
  }

  #form() {
    const form = el(
      "form",
      { method: "dialog" },
      el("h2", { id: "key-title" }, "API key"),
      this.words,
      el("div", { class: "field" }, el("label", { for: "key" }, "Key"), this.input, this.error),
      el(
        "div",
        { class: "dialog-buttons" },
        el("button", { class: "primary", type: "submit" }, "Use this key"),
        button("Not now", () => this.dialog.close(), "secondary"),
        this.forget,
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(this.input.value.trim());
    });
    return form;
  }

  /** @param {string} words @returns {Promise<boolean>} whether there is a key that is accepted */
  #ask(words) {
    this.words.textContent = words;
    this.input.value = "";
    this.forget.hidden = !keys.current();
    this.#complain("");
    if (!this.dialog.open) {
      this.dialog.showModal();
    }
    this.input.focus();
    this.#asking ??= new Promise((resolve) => (this.#answer = resolve));
    return this.#asking;
  }

  /** @param {string} key */
  async #try(key) {
    if (!SENDABLE.test(key)) {
      this.#complain("That is not a key.");
      return;
    }
    try {
      if (await isAccepted(key)) {
        keys.use(key);
        this.#finish();
      } else {
        this.#complain("The service does not accept that key.");
      }
    } catch (error) {
      this.#complain(error instanceof ApiError ? error.message : String(error));
    }
  }

  /** @param {string} message empty: none */
  #complain(message) {
    this.error.textContent = message;
    this.error.hidden = message === "";
    this.input.setAttribute("aria-invalid", String(message !== ""));
    if (message) {
      this.input.select();
    }
  }

  /** @param {() => void} onForget */
  #forget(onForget) {
    onForget();
    keys.use("");
    this.dialog.close();
  }

  #finish() {
    this.#settle(true);
    this.dialog.close();
  }

  /** @param {boolean} isThere */
  #settle(isThere) {
    this.#answer?.(isThere);
    this.#answer = null;
    this.#asking = null;
  }
}
