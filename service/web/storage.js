/** The browser's storage. It may refuse (private mode, full disk): then nothing is kept, and all else works. */

/**
 * Named, because where storage is blocked a browser refuses the object itself.
 * @typedef {"localStorage"|"sessionStorage"} Store
 */

/** @param {Store} store @param {string} name @returns {string|null} */
export function readItem(store, name) {
  try {
    return window[store].getItem(name);
  } catch {
    return null;
  }
}

/** @param {Store} store @param {string} name @param {string|null} value null: none */
export function writeItem(store, name, value) {
  try {
    if (value === null) {
      window[store].removeItem(name);
    } else {
      window[store].setItem(name, value);
    }
  } catch {
    console.debug(`${name} is not kept: storage refused`);
  }
}

/** What lies there as JSON; null if nothing that can be read. @param {Store} store @param {string} name */
export function readJson(store, name) {
  try {
    return JSON.parse(readItem(store, name) ?? "null");
  } catch {
    return null;
  }
}

/** @param {Store} store @param {string} prefix @returns {string[]} names of items, without the prefix */
export function namesIn(store, prefix) {
  try {
    const names = Object.keys(window[store]).filter((name) => name.startsWith(prefix));
    return names.map((name) => name.slice(prefix.length));
  } catch {
    return [];
  }
}
