/** The one line that says what is wrong with the connection or the server, the worst of it first. */

/** Sources of trouble, the worst first. */
const ORDER = ["server", "key", "stream"];

/** @typedef {{text: string, label?: string, action?: () => void}} Trouble `label` and `action`: what can be done */

export class Notice {
  /** @type {Map<string, Trouble>} */
  #troubles = new Map();

  /** @param {HTMLElement} line @param {HTMLElement} text @param {HTMLButtonElement} button */
  constructor(line, text, button) {
    this.line = line;
    this.text = text;
    this.button = button;
    button.addEventListener("click", () => this.#worst()?.action?.());
  }

  /** @param {"server"|"key"|"stream"} source @param {Trouble|null} trouble */
  set(source, trouble) {
    if (trouble) {
      this.#troubles.set(source, trouble);
    } else {
      this.#troubles.delete(source);
    }
    const worst = this.#worst();
    this.line.hidden = !worst;
    this.text.textContent = worst?.text ?? "";
    this.button.hidden = !worst?.action;
    this.button.textContent = worst?.label ?? "";
  }

  #worst() {
    return ORDER.map((source) => this.#troubles.get(source)).find(Boolean);
  }
}
