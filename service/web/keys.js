/** The API key of this browser, for services that ask for one. It is asked for once, and shared by all tabs. */

import { readItem, writeItem } from "./storage.js";

const NAME = "latentcast.key";
const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;

let key = readItem("localStorage", NAME) ?? "";
let declined = false;
/** @type {Promise<boolean>|null} */
let asking = null;
/** @type {(wasRefused: boolean) => Promise<boolean>} */
let ask = async () => false;
/** @type {Set<() => void>} */
const listeners = new Set();

addEventListener("storage", (event) => {
  if (event.key === NAME || event.key === null) {
    take(readItem("localStorage", NAME) ?? "");
  }
});

/** Empty: none. */
export function current() {
  return key;
}

/** @param {string} used */
export function headersFor(used) {
  return used ? { Authorization: `Bearer ${used}` } : {};
}

/** For EventSource and WebSocket, which send no headers of ours. @param {string} url */
export function withKey(url) {
  return key ? `${url}${url.includes("?") ? "&" : "?"}key=${encodeURIComponent(key)}` : url;
}

/** Whose pictures are shown: a name for the key that does not tell the key, empty without one. */
export function owner() {
  const bytes = new TextEncoder().encode(key);
  const hash = bytes.reduce((sum, byte) => BigInt.asUintN(64, (sum ^ BigInt(byte)) * FNV_PRIME), FNV_OFFSET);
  return key && hash.toString(36);
}

/** @param {string} newKey empty: forget it */
export function use(newKey) {
  writeItem("localStorage", NAME, newKey || null);
  take(newKey);
}

/** @param {() => void} listener the key is another one now, here or in another tab */
export function onChange(listener) {
  listeners.add(listener);
}

/** @param {(wasRefused: boolean) => Promise<boolean>} asker has a person enter a key; whether there is one then */
export function onNeed(asker) {
  ask = asker;
}

/**
 * The service refused a key, or wants one. Who declined is not asked again until they want something of it.
 * @param {string} refused empty: none was sent
 * @param {boolean} byUser whether a person waits for the answer
 * @returns {Promise<boolean>} whether there is another key to try
 */
export async function renew(refused, byUser) {
  if (key !== refused) {
    return true;
  }
  if (declined && !byUser) {
    return false;
  }
  asking ??= ask(refused !== "").finally(() => (asking = null));
  declined = !(await asking);
  return !declined;
}

/** @param {string} newKey */
function take(newKey) {
  if (newKey !== key) {
    key = newKey;
    declined = false;
    listeners.forEach((listener) => listener());
  }
}
