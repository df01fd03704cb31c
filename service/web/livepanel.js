/** Paint as I type: the switch, the picture that follows the words, and what can be done with it. */

import { announce } from "./announcer.js";
import { byId } from "./dom.js";
import { LiveSession } from "./live.js";
import { Print } from "./print.js";
import { sizeOption, sizesAround } from "./sizes.js";
import { fileName, sentence } from "./words.js";

const FOLLOWED = ["negative_prompt", "guidance_scale", "sampler"]; // besides the prompt, of the form's settings
const SPOKEN = new Set(["refused", "done", "reconnecting", "barred"]); // states that screen readers hear of
const STEPS_BOUNDS = [1, 50];
const DEFAULT_STEPS = 6;
const narrow = matchMedia("(max-width: 879px)"); // as in the style sheets: one column

/** @type {Record<string, string>} */
const STATES = {
  connecting: "Connecting…",
  reconnecting: "Not connected. Trying again…",
  barred: "The server lets no more connections in. Trying again…",
  idle: "Type, and watch.",
  resting: "Reading…",
  asked: "Starting…",
  done: "Done",
};

/**
 * @typedef {object} PanelListener
 * @property {(settings: import("./api.js").Settings) => void} paint in full
 * @property {() => void} doubt the server may not be well
 */

export class LivePanel {
  /** Of the pictures that may still be shown. @type {string[]} */
  #urls = [];
  #seed = 0;

  /** @param {import("./form.js").RequestForm} form @param {PanelListener} listener */
  constructor(form, listener) {
    this.form = form;
    this.switch = /** @type {HTMLInputElement} */ (byId("live-switch"));
    this.panel = byId("live");
    this.gallery = /** @type {HTMLElement} */ (this.panel.parentElement);
    this.size = /** @type {HTMLSelectElement} */ (byId("live-size"));
    this.steps = /** @type {HTMLInputElement} */ (byId("live-steps"));
    this.download = /** @type {HTMLAnchorElement} */ (byId("live-download"));
    this.print = new Print(/** @type {HTMLButtonElement} */ (this.panel.querySelector(".print")));
    this.session = new LiveSession({
      state: (state, message) => this.#onState(state, message),
      picture: (picture) => this.#onPicture(picture),
      doubt: listener.doubt,
    });
    this.switch.addEventListener("change", () => this.#turn(this.switch.checked));
    for (const element of [form.form, this.size, this.steps]) {
      element.addEventListener("input", ({ target }) => target === this.switch || this.ask());
    }
    narrow.addEventListener("change", () => this.#place());
    this.#place();
    byId("live-again").addEventListener("click", () => this.session.retry(true));
    byId("live-reseed").addEventListener("click", () => this.#reseed());
    byId("live-paint").addEventListener("click", () => listener.paint({ ...form.peek(), seed: this.#seedNow }));
  }

  get isOn() {
    return this.switch.checked;
  }

  /** @param {import("./health.js").Model} model */
  offer(model) {
    const { default_width: width, default_height: height } = model;
    const [small] = sizesAround(model);
    const sizes = [...(small ? [small] : []), { name: "Standard", width, height }];
    const chosen = this.size.selectedIndex;
    this.size.replaceChildren(...sizes.map(sizeOption));
    this.size.selectedIndex = Math.max(0, Math.min(chosen, sizes.length - 1));
  }

  /** @param {import("./health.js").State} state */
  onHealth({ status }) {
    if (status === "unreachable") {
      this.session.lose();
    } else if (status === "ready") {
      this.session.retry(false);
    }
  }

  /** What the form says now, if that is to be painted as it is typed. */
  ask() {
    if (this.isOn) {
      this.session.ask(this.#read());
    }
  }

  /** Where there is one column, the picture is beside the words. */
  #place() {
    if (narrow.matches) {
      byId("live-place").append(this.panel);
    } else {
      this.gallery.prepend(this.panel);
    }
  }

  /** @param {boolean} on */
  #turn(on) {
    this.panel.hidden = !on;
    if (on) {
      this.#seed = randomSeed();
      this.session.start();
      this.session.ask(this.#read());
      this.form.focusPrompt();
    } else {
      this.session.stop();
      this.#clear();
    }
  }

  get #seedNow() {
    return this.form.peek().seed ?? this.#seed;
  }

  #reseed() {
    this.#seed = randomSeed();
    this.form.clearSeed();
    this.ask();
  }

  /** Null without a prompt. */
  #read() {
    const settings = this.form.peek();
    if (!settings.prompt) {
      return null;
    }
    const [width, height] = this.size.value.split("x").map(Number);
    const followed = FOLLOWED.filter((name) => name in settings).map((name) => [name, settings[name]]);
    return {
      prompt: settings.prompt,
      ...Object.fromEntries(followed),
      ...(width && height ? { width, height } : {}),
      num_inference_steps: this.#stepsNow,
      seed: this.#seedNow,
    };
  }

  get #stepsNow() {
    const [least, most] = STEPS_BOUNDS;
    return Math.min(Math.max(Math.round(this.steps.valueAsNumber) || DEFAULT_STEPS, least), most);
  }

  /** @param {import("./live.js").State} state @param {string} message */
  #onState(state, message) {
    this.panel.dataset.state = state;
    byId("live-state").textContent = state === "refused" ? sentence(message) : (STATES[state] ?? message);
    byId("live-again").hidden = state !== "refused";
    if (SPOKEN.has(state)) {
      announce(byId("live-state").textContent ?? "");
    }
  }

  /** @param {import("./live.js").LivePicture} picture */
  async #onPicture({ blob, settings, seed }) {
    const { frame } = this.print;
    frame.style.aspectRatio = `${settings.width ?? 1} / ${settings.height ?? 1}`;
    frame.setAttribute("aria-label", `View large: ${settings.prompt}`);
    const source = URL.createObjectURL(blob);
    this.#urls.push(source);
    this.download.href = source;
    this.download.download = fileName(settings.prompt, seed, blob.type);
    byId("live-actions").hidden = false;
    await this.print.show({ source, description: settings.prompt, isFinal: false });
    this.#revoke(Math.max(0, this.#urls.indexOf(this.print.picture?.source ?? "")));
  }

  #clear() {
    this.print.clear();
    this.#revoke(this.#urls.length);
    byId("live-actions").hidden = true;
  }

  /** @param {number} count of the oldest ones */
  #revoke(count) {
    this.#urls.splice(0, count).forEach((url) => URL.revokeObjectURL(url));
  }
}

function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}
