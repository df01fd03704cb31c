/** The browser's storage. It may refuse (private mode, full disk): then nothing is kept, and all else works. */

/** @param {Storage} store @param {string} name @returns {string|null} */
export function readItem(store, name) {
  try {
    return store.getItem(name);
  } catch {
    return null;
  }
}

/** @param {Storage} store @param {string} name @param {string|null} value null: none */
export function writeItem(store, name, value) {
  try {
    if (value === null) {
      store.removeItem(name);
    } else {
      store.setItem(name, value);
    }
  } catch {
    console.debug(`${name} is not kept: storage refused`);
  }
}

/** What lies there as JSON; null if nothing that can be read. @param {Storage} store @param {string} name */
export function readJson(store, name) {
  try {
    return JSON.parse(readItem(store, name) ?? "null");
  } catch {
    return null;
  }
}

/** @param {Storage} store @param {string} prefix @returns {string[]} names of items, without the prefix */
export function namesIn(store, prefix) {
  try {
    return Object.keys(store).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  } catch {
    return [];
  }
}
