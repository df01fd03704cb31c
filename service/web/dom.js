/** Elements in one line each. */

/**
 * @param {string} tag
 * @param {Record<string, string|number|boolean|null>} [attributes] true: without a value; false, null: left out
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children);
  return element;
}

/** A button that sends nothing. @param {string} text @param {() => void} action @param {string} [kind] its class */
export function button(text, action, kind = "") {
  const element = el("button", { type: "button", class: kind || null }, text);
  element.addEventListener("click", action);
  return element;
}

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
