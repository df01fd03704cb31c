/** The form: what is asked for, and what the server found wrong with it. */

import { samplerName } from "./samplers.js";
import { sizeOption, sizesAround } from "./sizes.js";
import { readJson, writeItem } from "./storage.js";

const DRAFT = "latentcast.draft";
const OWN_SIZE = "";
const CUSTOM_SIZE = "custom";
const NUMBERS = ["num_inference_steps", "guidance_scale", "num_images", "seed"];
const OWN_SAMPLER = "";

export class RequestForm {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.formError = /** @type {HTMLElement} */ (form.querySelector(".form-error"));
    this.size = /** @type {HTMLSelectElement} */ (form.elements.namedItem("size"));
    this.sampler = /** @type {HTMLSelectElement} */ (form.elements.namedItem("sampler"));
    this.images = /** @type {HTMLSelectElement} */ (form.elements.namedItem("num_images"));
    this.size.addEventListener("change", () => this.#showCustomSize());
    form.addEventListener("input", (event) => this.#clearError(/** @type {HTMLElement} */ (event.target)));
    form.addEventListener("keydown", (event) => this.#submitOnEnter(event));
    this.size.append(new Option("The model's own", OWN_SIZE), customOption());
    addEventListener("pagehide", () => this.#keepDraft());
  }

  /** What was in the form when the page was left. */
  restoreDraft() {
    for (const [name, value] of Object.entries(readJson("sessionStorage", DRAFT) ?? {})) {
      const input = this.#input(name);
      if (input instanceof HTMLSelectElement) {
        choose(input, String(value));
      } else if (input) {
        input.value = String(value);
      }
    }
    this.#showCustomSize();
  }

  #keepDraft() {
    writeItem("sessionStorage", DRAFT, JSON.stringify(Object.fromEntries(new FormData(this.form))));
  }

  /** @param {(settings: import("./api.js").Settings) => void} submit */
  onSubmit(submit) {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const settings = this.read();
      if (settings && !settings.prompt) {
        this.showErrors([{ field: "prompt", message: "must not be empty" }], "");
      } else if (settings) {
        submit(settings);
      }
    });
  }

  /** What that model can do. @param {import("./health.js").Model} model */
  offer(model) {
    this.#offerSizes(model);
    const own = model.sampler ? `Standard, ${samplerName(model.sampler)}` : "The model's own";
    const named = model.samplers.map((name) => new Option(samplerName(name), name));
    const chosen = this.sampler.value;
    this.sampler.replaceChildren(new Option(own, OWN_SAMPLER), ...named);
    choose(this.sampler, chosen);
  }

  /** @param {import("./health.js").Model} model */
  #offerSizes(model) {
    const { default_width: width, default_height: height } = model;
    const chosen = this.size.value;
    const sizes = sizesAround(model).map(sizeOption);
    this.size.replaceChildren(new Option(`Standard, ${width} × ${height}`, OWN_SIZE), ...sizes, customOption());
    choose(this.size, chosen);
    for (const [name, own] of Object.entries({ width, height })) {
      const input = this.#input(name);
      input.value ||= String(own);
      input.min = String(model.min_size);
      input.max = String(model.max_size);
      input.step = String(model.size_multiple);
    }
  }

  /** What is asked for, or null where a field holds no number. @returns {import("./api.js").Settings|null} */
  read() {
    this.showErrors([], "");
    const names = this.size.value === CUSTOM_SIZE ? [...NUMBERS, "width", "height"] : NUMBERS;
    const unreadable = names.filter((name) => this.#input(name).validity.badInput);
    if (unreadable.length > 0) {
      this.showErrors(unreadable.map((field) => ({ field, message: "must be a number" })), "");
      return null;
    }
    return this.peek();
  }

  /** What is asked for so far; what cannot be read is left out. @returns {import("./api.js").Settings} */
  peek() {
    return {
      prompt: this.#input("prompt").value.trim(),
      negative_prompt: this.#input("negative_prompt").value.trim() || null,
      ...this.#readSize(),
      ...this.#readNumbers(NUMBERS),
      ...(this.sampler.value === OWN_SAMPLER ? {} : { sampler: this.sampler.value }),
    };
  }

  /** @param {import("./api.js").Settings} settings */
  fill(settings) {
    this.#input("prompt").value = settings.prompt;
    this.#input("negative_prompt").value = settings.negative_prompt ?? "";
    for (const name of NUMBERS) {
      this.#input(name).value = String(settings[name] ?? "");
    }
    this.#fillCount(settings);
    choose(this.sampler, settings.sampler ?? OWN_SAMPLER);
    this.#fillSize(settings);
    this.showErrors([], "");
  }

  /** @param {string} prompt */
  fillPrompt(prompt) {
    this.#input("prompt").value = prompt;
    this.#clearError(this.#input("prompt"));
    this.focusPrompt();
  }

  clearSeed() {
    this.#input("seed").value = "";
  }

  focusPrompt() {
    this.#input("prompt").focus();
  }

  /**
   * Each fault beside its field, the rest below; the first field at fault gets the focus.
   * @param {import("./api.js").FieldError[]} errors
   * @param {string} message for faults that are not of a field
   */
  showErrors(errors, message) {
    for (const field of this.form.querySelectorAll("[data-field]")) {
      this.#markField(/** @type {HTMLElement} */ (field), "");
    }
    const homeless = errors.filter(({ field, message: text }) => !this.#markField(this.#fieldFor(field), text));
    const told = homeless.map((error) => `${error.field} ${error.message}`.trim());
    const rest = errors.length === 0 ? message : told.join("; ");
    this.formError.textContent = rest;
    this.formError.hidden = rest === "";
    const first = /** @type {HTMLElement|null} */ (this.form.querySelector("[aria-invalid]"));
    first?.focus();
  }

  /** @param {string} name @returns {HTMLElement|null} */
  #fieldFor(name) {
    if (name === "width" || name === "height") {
      this.size.value = CUSTOM_SIZE;
      this.#showCustomSize();
    }
    const field = /** @type {HTMLElement|null} */ (this.form.querySelector(`[data-field="${CSS.escape(name)}"]`));
    field?.closest("details")?.setAttribute("open", "");
    return field;
  }

  /**
   * @param {HTMLElement|null} field
   * @param {string} message empty: no fault
   * @returns {boolean} whether there is such a field
   */
  #markField(field, message) {
    if (!field) {
      return false;
    }
    const text = /** @type {HTMLElement} */ (field.querySelector(".error"));
    const input = /** @type {HTMLElement} */ (field.querySelector("input, select, textarea"));
    text.textContent = message;
    text.hidden = message === "";
    text.id = `${field.dataset.field}-error`;
    if (message) {
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-errormessage", text.id);
    } else {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-errormessage");
    }
    return true;
  }

  /** @param {HTMLElement} input */
  #clearError(input) {
    this.#markField(input.closest("[data-field]"), "");
  }

  /** @param {KeyboardEvent} event */
  #submitOnEnter(event) {
    const inPrompt = /** @type {HTMLElement} */ (event.target).matches("textarea");
    const asked = event.ctrlKey || event.metaKey || (inPrompt && !event.shiftKey);
    if (event.key === "Enter" && asked && !event.isComposing) {
      event.preventDefault();
      this.form.requestSubmit();
    }
  }

  #showCustomSize() {
    const custom = /** @type {HTMLElement} */ (this.form.querySelector(".custom-size"));
    custom.hidden = this.size.value !== CUSTOM_SIZE;
  }

  #readSize() {
    if (this.size.value === OWN_SIZE) {
      return {};
    }
    if (this.size.value === CUSTOM_SIZE) {
      return this.#readNumbers(["width", "height"]);
    }
    const [width, height] = this.size.value.split("x").map(Number);
    return { width, height };
  }

  /** At least one picture, and no more than are offered. @param {import("./api.js").Settings} settings */
  #fillCount({ num_images: count = 1 }) {
    const offered = [...this.images.options].map(({ value }) => Number(value));
    this.images.value = String(offered.findLast((number) => number <= count) ?? 1);
  }

  /** @param {import("./api.js").Settings} settings */
  #fillSize({ width, height }) {
    const isSized = width !== undefined && height !== undefined;
    choose(this.size, isSized ? `${width}x${height}` : OWN_SIZE);
    this.#showCustomSize();
  }

  /** An empty field leaves the choice to the server. @param {string[]} names @returns {Record<string, number>} */
  #readNumbers(names) {
    const given = names.filter((name) => this.#input(name).value !== "");
    return Object.fromEntries(given.map((name) => [name, Number(this.#input(name).value)]));
  }

  /** @param {string} name */
  #input(name) {
    return /** @type {HTMLInputElement} */ (this.form.elements.namedItem(name));
  }
}

/** Also what is not offered (yet). @param {HTMLSelectElement} select @param {string} value */
function choose(select, value) {
  select.value = value;
  if (select.selectedIndex < 0) {
    const label = /^\d+x\d+$/.test(value) ? value.replace("x", " × ") : samplerName(value);
    select.append(new Option(label, value));
    select.value = value;
  }
}

function customOption() {
  return new Option("Custom…", CUSTOM_SIZE);
}
