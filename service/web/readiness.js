/** Waits until the server takes work, and says so meanwhile. */

const AGAIN_MS = 1500;
const REASONS = new Map([
  ["loading", "The model is being loaded…"],
  ["restarting", "The model is being started again…"],
  ["draining", "The server is shutting down."],
]);

/**
 * The model that paints. Sides in pixels.
 * @typedef {object} Model
 * @property {string} name
 * @property {string} device
 * @property {number} default_width
 * @property {number} default_height
 * @property {number} size_multiple
 * @property {number} min_size
 * @property {number} max_size
 */

/** @param {HTMLElement} notice where to say it @returns {Promise<Model>} */
export async function serverReady(notice) {
  for (;;) {
    const response = await fetch("readyz").catch(() => null);
    const health = await response?.json().catch(() => null);
    if (response?.ok) {
      notice.hidden = true;
      return health.model;
    }
    notice.textContent = REASONS.get(health?.status) ?? "The server cannot be reached. Trying again…";
    notice.hidden = false;
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}
