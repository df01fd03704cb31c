/** Dark, light, or as the system has it: chosen here, put on by `theme.js` at the next visit. */

import { readItem, writeItem } from "./storage.js";

const NAME = "latentcast.theme";
const SYSTEM = "system";
const LABELS = { system: "as the system has them", dark: "dark", light: "light" };

/** Makes a button of one that goes round the three. @param {HTMLElement} button */
export function offerThemes(button) {
  let theme = kept();
  const show = () => {
    if (theme === SYSTEM) {
      delete document.documentElement.dataset.theme;
    } else {
      document.documentElement.dataset.theme = theme;
    }
    button.dataset.theme = theme;
    button.title = `Colours: ${LABELS[theme]}`;
    button.setAttribute("aria-label", button.title);
  };
  button.addEventListener("click", () => {
    const themes = Object.keys(LABELS);
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    writeItem("localStorage", NAME, theme === SYSTEM ? null : theme);
    show();
  });
  addEventListener("storage", ({ key }) => {
    if (key === NAME) {
      theme = kept();
      show();
    }
  });
  show();
}

/** @returns {string} one of `LABELS` */
function kept() {
  const theme = readItem("localStorage", NAME) ?? "";
  return theme in LABELS ? theme : SYSTEM;
}
