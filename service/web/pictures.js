/** Finished pictures, kept in this browser: the server keeps them for a while only. */

const DATABASE = "latentcast";
const STORE = "pictures";

/** @type {Promise<IDBDatabase>|null} */
let opening = null;

/** @param {string} key of a generation @returns {Promise<Blob[]|null>} */
export async function load(key) {
  return (await inStore("readonly", (store) => store.get(key))) ?? null;
}

/** @param {string} key @param {Blob[]} pictures */
export async function save(key, pictures) {
  await inStore("readwrite", (store) => store.put(pictures, key));
}

/** @param {string} key */
export async function remove(key) {
  await inStore("readwrite", (store) => store.delete(key));
}

/** Removes those of generations that are not remembered any more. @param {() => Set<string>} remembered */
export async function prune(remembered) {
  const keys = (await inStore("readonly", (store) => store.getAllKeys())) ?? [];
  const wanted = remembered();
  await Promise.all(keys.filter((key) => !wanted.has(String(key))).map((key) => remove(String(key))));
}

/**
 * A browser may refuse storage (private mode, full disk): then nothing is kept, and pictures come from the server.
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} action
 * @returns {Promise<T|undefined>}
 */
async function inStore(mode, action) {
  try {
    opening ??= open();
    const transaction = (await opening).transaction(STORE, mode);
    return await settled(action(transaction.objectStore(STORE)));
  } catch {
    opening = null;
    console.debug("pictures are not kept here: storage refused");
    return undefined;
  }
}

function open() {
  const request = indexedDB.open(DATABASE, 1);
  request.addEventListener("upgradeneeded", () => request.result.createObjectStore(STORE));
  return settled(request);
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
  });
}
