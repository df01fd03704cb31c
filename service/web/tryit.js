/** Sends a request of the reader's and shows what comes back, as it comes. */

import { announce } from "./announcer.js";
import { copyText } from "./clipboard.js";
import { button, el } from "./dom.js";
import * as keys from "./keys.js";
import { example, resolve } from "./schema.js";
import { quoted } from "./snippets.js";

const LONG_TEXT = /"([^"\s]{160,})"/g; // in an answer; pictures are shown instead
const MOST_EVENTS = 200;
const HEADERS_SHOWN = ["content-type", "location", "retry-after", "x-request-id"];
const PICTURE = /data:image\/[a-z]+;base64,[A-Za-z0-9+/=]+/g;
const FOR_PATHS = { owner: "local", alias: "app", number: "0" };

/** @typedef {{method: string, path: string, operation: Record<string, any>}} Route */

export class TryIt {
  /** @type {AbortController|null} */
  #running = null;

  /** @param {Route} route @param {Record<string, any>} schemas */
  constructor({ method, path, operation }, schemas) {
    this.method = method;
    this.path = path;
    this.inputs = operation.parameters.map((parameter) => ({ parameter, input: inputFor(parameter) }));
    this.body = bodyFor(operation, schemas);
    this.send = el("button", { class: "primary", type: "submit" }, "Send");
    this.stop = button("Stop", () => this.#running?.abort(), "secondary");
    this.stop.hidden = true;
    this.status = el("p", { class: "answer-status", role: "status" });
    const picture = el("img", { class: "answer-picture", alt: "The picture of the answer", hidden: true });
    this.picture = /** @type {HTMLImageElement} */ (picture);
    this.text = el("pre", { class: "answer", tabindex: "0", "aria-label": "Answer", hidden: true });
    this.element = this.#form();
  }

  #form() {
    const fields = this.inputs.map(({ parameter, input }) => field(parameter.name, input));
    const copy = button("Copy as curl", () => this.#copy(), "text-button");
    const form = el(
      "form",
      { class: "try", "aria-label": "Try it" },
      el("h4", {}, "Try it"),
      fields.length > 0 ? el("div", { class: "try-fields" }, ...fields) : "",
      this.body ? field("body", this.body) : "",
      el("div", { class: "dialog-buttons" }, this.send, this.stop, copy),
      this.status,
      this.picture,
      this.text,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run();
    });
    return form;
  }

  get #url() {
    const path = this.#valuesIn("path").reduce(
      (text, [name, value]) => text.replace(`{${name}}`, encodeURIComponent(value)),
      this.path,
    );
    const query = new URLSearchParams(this.#valuesIn("query").filter(([, value]) => value !== ""));
    return new URL(path.slice(1) + (query.size > 0 ? `?${query}` : ""), document.baseURI).href;
  }

  /** @param {"path"|"query"} place @returns {[string, string][]} names and values */
  #valuesIn(place) {
    const inputs = this.inputs.filter(({ parameter }) => parameter.in === place);
    return inputs.map(({ parameter, input }) => [parameter.name, input.value]);
  }

  async #run() {
    this.#running?.abort();
    const running = (this.#running = new AbortController());
    this.#begin();
    try {
      await this.#fetch(running.signal);
    } catch (error) {
      this.status.textContent = running.signal.aborted ? "Stopped." : `No answer: ${error}`;
    }
    if (running === this.#running) {
      this.stop.hidden = true;
    }
  }

  /** @param {AbortSignal} signal */
  async #fetch(signal) {
    const kind = this.body ? { "Content-Type": "application/json" } : {};
    const headers = { ...keys.headersFor(keys.current()), ...kind };
    const response = await fetch(this.#url, { method: this.method, headers, body: this.body?.value, signal });
    const shown = HEADERS_SHOWN.filter((name) => response.headers.has(name));
    const lines = shown.map((name) => `${name}: ${response.headers.get(name)}`);
    this.status.textContent = [`${response.status} ${response.statusText}`, ...lines].join(" · ");
    await this.#show(response);
  }

  #begin() {
    this.stop.hidden = false;
    this.status.textContent = "Waiting for the answer…";
    this.text.replaceChildren();
    this.text.hidden = true;
    this.picture.hidden = true;
  }

  /** @param {Response} response */
  async #show(response) {
    const type = response.headers.get("content-type") ?? "";
    if (type.startsWith("image/")) {
      this.picture.src = URL.createObjectURL(await response.blob());
      this.picture.hidden = false;
    } else if (type.startsWith("text/event-stream")) {
      await this.#showEvents(response);
    } else {
      this.#append(pretty(await response.text()));
    }
  }

  /** @param {Response} response */
  async #showEvents(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop() ?? "";
      blocks.forEach((block) => this.#append(block));
    }
  }

  /** @param {string} text */
  #append(text) {
    const source = text.match(PICTURE)?.at(-1);
    if (source) {
      this.picture.src = source;
      this.picture.hidden = false;
    }
    this.text.hidden = false;
    this.text.append(el("div", {}, brief(text)));
    if (this.text.childElementCount > MOST_EVENTS) {
      this.text.firstElementChild?.remove();
    }
    this.text.scrollTop = this.text.scrollHeight;
  }

  async #copy() {
    const lines = [
      `curl -N -X ${this.method} ${quoted(this.#url)}`,
      ...(keys.current() ? ['-H "Authorization: Key $LATENTCAST_KEY"'] : []),
      ...(this.body ? ["-H 'Content-Type: application/json'", `-d ${quoted(this.body.value)}`] : []),
    ];
    await copyText(lines.join(" \\\n     "));
    this.status.textContent = "Copied";
    announce("Copied");
  }
}

/** @param {string} name @param {HTMLElement} input */
function field(name, input) {
  return el("label", { class: "field" }, el("span", {}, name), input);
}

/** @param {Record<string, any>} parameter @returns {HTMLInputElement} */
function inputFor({ name, in: place, required, schema }) {
  const wanted = { required: required ? [name] : [], properties: { [name]: schema } };
  const value = place === "path" ? (FOR_PATHS[name] ?? "") : (example(wanted)[name] ?? "");
  return /** @type {HTMLInputElement} */ (el("input", { name, value, required, autocomplete: "off" }));
}

/** @param {Record<string, any>} operation @param {Record<string, any>} schemas @returns {HTMLTextAreaElement|null} */
function bodyFor({ requestBody }, schemas) {
  const schema = requestBody?.content["application/json"].schema;
  if (!schema) {
    return null;
  }
  const text = JSON.stringify(example(resolve(schema, schemas)), null, 2);
  return /** @type {HTMLTextAreaElement} */ (el("textarea", { rows: 5, spellcheck: "false", class: "code" }, text));
}

/** @param {string} text JSON or anything else */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** @param {string} text */
function brief(text) {
  return text.replace(LONG_TEXT, (_, value) => `"${value.slice(0, 40)}… (${value.length} characters)"`);
}
