/**
 * What this browser asked for, kept over a reload and shared by all its tabs.
 *
 * Every generation has an item of its own, so that tabs never write over each other. What was not sent yet belongs to
 * the tab alone. Pictures are kept in `pictures.js`.
 */

import { namesIn, readJson, writeItem } from "./storage.js";

const PREFIX = "latentcast.history/";
const UNSENT_PREFIX = "latentcast.unsent/";
const UNSENT = new Set(["sending", "held"]);
const UNDER_WAY = new Set(["queued", "running"]);
const MOST = 60; // besides what is under way

/** @typedef {import("./storage.js").Store} Store */

/**
 * @typedef {object} Listener
 * @property {(snapshot: import("./generation.js").Snapshot) => void} kept in another tab
 * @property {(key: string) => void} forgotten in another tab
 */

/** Those of one owner. @param {string} owner @returns {import("./generation.js").Snapshot[]} oldest first */
export function entries(owner) {
  return readAll("localStorage", PREFIX).filter((snapshot) => snapshot.owner === owner);
}

/**
 * What this tab had not sent when it was left. That of others is thrown away with it.
 * @param {string} owner
 * @returns {import("./generation.js").Snapshot[]} oldest first
 */
export function takeUnsent(owner) {
  const unsent = readAll("sessionStorage", UNSENT_PREFIX);
  unsent.forEach(({ key }) => writeItem("sessionStorage", UNSENT_PREFIX + key, null));
  return unsent.filter((snapshot) => snapshot.owner === owner);
}

/** @param {import("./generation.js").Snapshot} snapshot @returns {string[]} keys of old ones that had to give way */
export function keep(snapshot) {
  if (UNSENT.has(snapshot.phase)) {
    writeItem("sessionStorage", UNSENT_PREFIX + snapshot.key, JSON.stringify(snapshot));
    return [];
  }
  writeItem("sessionStorage", UNSENT_PREFIX + snapshot.key, null);
  writeItem("localStorage", PREFIX + snapshot.key, JSON.stringify(snapshot));
  const old = namesIn("localStorage", PREFIX).length > MOST ? tooOld() : [];
  old.forEach(({ key }) => forget(key));
  return old.map(({ key }) => key);
}

/** @param {string} key */
export function forget(key) {
  writeItem("sessionStorage", UNSENT_PREFIX + key, null);
  writeItem("localStorage", PREFIX + key, null);
}

/** @returns {Set<string>} keys of all that is kept, whoever it belongs to */
export function keptKeys() {
  return new Set(namesIn("localStorage", PREFIX));
}

/** @param {Listener} listener */
export function listen({ kept, forgotten }) {
  addEventListener("storage", ({ key, newValue }) => {
    if (!key?.startsWith(PREFIX)) {
      return;
    }
    const snapshot = newValue === null ? null : readSnapshot("localStorage", key);
    if (snapshot) {
      kept(snapshot);
    } else {
      forgotten(key.slice(PREFIX.length));
    }
  });
}

/** Of those that are over. */
function tooOld() {
  return readAll("localStorage", PREFIX).filter(({ phase }) => !UNDER_WAY.has(phase)).slice(0, -MOST);
}

/** @param {Store} store @param {string} prefix @returns {import("./generation.js").Snapshot[]} */
function readAll(store, prefix) {
  const snapshots = namesIn(store, prefix).map((key) => readSnapshot(store, prefix + key));
  return snapshots.filter((snapshot) => snapshot !== null).sort((one, other) => one.at - other.at);
}

/** @param {Store} store @param {string} name @returns {import("./generation.js").Snapshot|null} */
function readSnapshot(store, name) {
  const snapshot = readJson(store, name);
  return snapshot?.key && name.endsWith(snapshot.key) && snapshot.settings?.prompt ? snapshot : null;
}
