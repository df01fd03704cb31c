/** Puts the page together. */

import { announce } from "./announcer.js";
import { offerThemes } from "./appearance.js";
import { byId } from "./dom.js";
import { EIGHT_PROMPTS } from "./examples.js";
import { RequestForm } from "./form.js";
import { Gallery } from "./gallery.js";
import { Health } from "./health.js";
import { KeyDialog } from "./keydialog.js";
import * as keys from "./keys.js";
import { fromFragment } from "./link.js";
import { LivePanel } from "./livepanel.js";
import { Notice } from "./notice.js";
import { Shortcuts } from "./shortcuts.js";
import { Studio } from "./studio.js";
import { Viewer } from "./viewer.js";
import { sentence } from "./words.js";

/** What the server says of itself when it takes no work. @type {Record<string, string>} */
const TROUBLES = {
  loading: "The model is being loaded…",
  restarting: "The model is being started again…",
  draining: "The server is shutting down.",
  unreachable: "The server cannot be reached. Trying again…",
};
const STREAM_LOST = { text: "The connection is lost. Connecting again…" };

const form = new RequestForm(/** @type {HTMLFormElement} */ (byId("request")));
const clear = /** @type {HTMLButtonElement} */ (byId("clear"));
const gallery = new Gallery(byId("cards"), byId("tally"), byId("empty"), clear);
const noticeButton = /** @type {HTMLButtonElement} */ (byId("notice-button"));
const notice = new Notice(byId("notice"), byId("notice-text"), noticeButton);
const health = new Health((state) => onHealth(state));
const studio = new Studio(gallery, {
  invalid: (errors, message) => form.showErrors(errors, message),
  connection: (connected, reason) => notice.set("stream", connected ? null : streamTrouble(reason)),
  doubt: () => health.check(),
  reuse: (settings) => {
    form.fill(settings);
    form.focusPrompt();
  },
});
const live = new LivePanel(form, { paint: (settings) => paint(settings), doubt: () => health.check() });
const keyDialog = new KeyDialog(() => studio.forgetOwner());
let asksForKey = false;

/** @param {import("./health.js").State} state */
function onHealth(state) {
  const text = TROUBLES[state.status];
  notice.set("server", text ? { text } : null);
  asksForKey = state.auth ?? asksForKey;
  showKey();
  if (state.model) {
    form.offer(state.model);
    live.offer(state.model);
    byId("model").textContent = `painted by ${state.model.name} on ${state.model.device}`;
  }
  studio.onHealth(state);
  live.onHealth(state);
}

/** @param {string} reason */
function streamTrouble(reason) {
  return reason ? { text: sentence(reason) } : STREAM_LOST;
}

/** Whether a key is wanted, and how to enter one. */
function showKey() {
  const isLacking = asksForKey && !keys.current();
  byId("key-button").hidden = !asksForKey && !keys.current();
  const trouble = { text: "This service asks for an API key.", label: "Enter it", action: () => keyDialog.open() };
  notice.set("key", isLacking ? trouble : null);
}

/** @param {import("./api.js").Settings} settings */
function paint(settings) {
  studio.submit(settings, true);
  byId("filled").hidden = true;
  byId("cards").firstElementChild?.scrollIntoView({ block: "nearest" });
}

/** The form's settings with eight prompts of their own, one picture each, from a random seed. */
function paintEight() {
  const settings = form.read();
  if (!settings) {
    return;
  }
  delete settings.seed;
  delete settings.num_images;
  for (const prompt of EIGHT_PROMPTS.toReversed()) {
    paint({ ...settings, prompt });
  }
}

/** A link fills the form and sends nothing; it is used once, so that a reload keeps what was changed since. */
function fillFromLink() {
  const settings = fromFragment(location.hash);
  if (!settings) {
    return;
  }
  form.fill(settings);
  byId("filled").hidden = false;
  history.replaceState(null, "", location.pathname + location.search);
  form.focusPrompt();
}

/** Asks first. */
function offerToClear() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("clear-dialog"));
  clear.addEventListener("click", () => dialog.showModal());
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "clear") {
      studio.clear();
      announce("Removed");
    }
    dialog.returnValue = "";
  });
}

form.onSubmit(paint);
byId("eight").addEventListener("click", paintEight);
byId("eight-empty").addEventListener("click", paintEight);
byId("key-button").addEventListener("click", () => keyDialog.open());
keys.onChange(showKey);
addEventListener("hashchange", fillFromLink);

for (const chip of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("#examples button"))) {
  chip.addEventListener("click", () => {
    form.fillPrompt(chip.title);
    live.ask();
  });
}

new Viewer();
new Shortcuts();
offerThemes(byId("theme-button"));
offerToClear();
form.restoreDraft();
fillFromLink();
studio.restore();
gallery.count();
health.check();
