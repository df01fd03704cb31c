/** What this browser asked for, kept over a reload. Pictures are not kept here: the server has them for a while. */

const KEY = "latentcast.history";
const MOST = 60;

/** @typedef {{id: string, settings: import("./api.js").Settings, finished: boolean}} Entry */

/** @returns {Entry[]} newest first */
export function entries() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(stored) ? stored.filter((entry) => entry?.id && entry.settings?.prompt) : [];
  } catch {
    return [];
  }
}

/** @param {Entry} entry */
export function remember(entry) {
  store([entry, ...entries().filter((other) => other.id !== entry.id)].slice(0, MOST));
}

/** @param {string} id */
export function finish(id) {
  store(entries().map((entry) => (entry.id === id ? { ...entry, finished: true } : entry)));
}

/** @param {string} id */
export function forget(id) {
  store(entries().filter((entry) => entry.id !== id));
}

/**
 * A browser may refuse storage (private mode, full disk): then there is no history, and all else works.
 * @param {Entry[]} list
 */
function store(list) {
  try {
    localStorage.setItem(KEY, JSON.stringify(list));
  } catch {
    console.debug("history is not kept: storage refused");
  }
}
