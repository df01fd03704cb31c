/** Puts the page together. */

import { EIGHT_PROMPTS, EXAMPLES } from "./examples.js";
import { RequestForm } from "./form.js";
import { Gallery } from "./gallery.js";
import { serverReady } from "./readiness.js";
import { Studio } from "./studio.js";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const form = new RequestForm(/** @type {HTMLFormElement} */ (byId("request")));
const gallery = new Gallery(byId("cards"), byId("tally"), byId("empty"));
const studio = new Studio(gallery, {
  invalid: (errors, message) => form.showErrors(errors, message),
  connection: (connected) => byId("connection").toggleAttribute("hidden", connected),
  reuse: (settings) => {
    form.fill(settings);
    form.focusPrompt();
  },
});

/** The form's settings with eight prompts of their own, and a random seed each. */
function paintEight() {
  const settings = form.read();
  if (!settings) {
    return;
  }
  delete settings.seed;
  for (const prompt of EIGHT_PROMPTS.toReversed()) {
    studio.submit({ ...settings, prompt });
  }
  byId("cards").firstElementChild?.scrollIntoView({ block: "nearest" });
}

form.onSubmit((settings) => {
  studio.submit(settings);
  byId("cards").firstElementChild?.scrollIntoView({ block: "nearest" });
});
byId("eight").addEventListener("click", paintEight);
byId("eight-empty").addEventListener("click", paintEight);

for (const { label, prompt } of EXAMPLES) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.textContent = label;
  chip.title = prompt;
  chip.addEventListener("click", () => form.fillPrompt(prompt));
  byId("examples").append(chip);
}

studio.restore();
const model = await serverReady(byId("service-notice"));
form.offerSizes(model);
byId("model").textContent = `painted by ${model.name} on ${model.device}`;
