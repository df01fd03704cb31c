/** The native HTTP interface. Addresses are relative, so the page also works below a path of a proxy. */

import * as keys from "./keys.js";

const PATIENCE_MS = 20_000; // for an answer that does not take work
const PICTURE_PATIENCE_MS = 120_000;
const TOLD_ELSEWHERE = new Set([0, 401, 404]); // no answer, no key, nothing of that any more

/**
 * What the form asks for; names and meanings are those of `POST v1/generations`. Absent: the server's default.
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string|null} [negative_prompt] null: none
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [num_inference_steps]
 * @property {number} [guidance_scale]
 * @property {string} [sampler]
 * @property {number} [num_images]
 * @property {number} [seed]
 */

/**
 * One generation as the server reports it.
 * @typedef {object} GenerationRecord
 * @property {string} id
 * @property {"queued"|"running"|"succeeded"|"failed"|"cancelled"} status
 * @property {number} step
 * @property {number} total_steps
 * @property {number|null} queue_position how many come before it
 * @property {number|null} eta_seconds to its end
 * @property {number|null} started_at seconds since 1970
 * @property {number|null} finished_at
 * @property {number} seed
 * @property {number} width
 * @property {number} height
 * @property {boolean} prompt_truncated
 * @property {{code: string, message: string}|null} error
 */

/** @typedef {{field: string, message: string}} FieldError */

/** An answer of the server that is not a success. `status` 0: no answer at all. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   * @param {{code?: string, fieldErrors?: FieldError[], retryAfter?: number|null}} [more] `retryAfter` in seconds
   */
  constructor(status, message, { code = "", fieldErrors = [], retryAfter = null } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.fieldErrors = fieldErrors;
    this.retryAfter = retryAfter;
  }
}

/** @param {Settings & Record<string, unknown>} body @returns {Promise<GenerationRecord>} */
export function createGeneration(body) {
  const headers = { "Content-Type": "application/json" };
  return request("v1/generations", { method: "POST", headers, body: JSON.stringify(body), byUser: true });
}

/** @param {string} id @returns {Promise<GenerationRecord>} */
export function getGeneration(id) {
  return request(generationUrl(id));
}

/** @param {string} id @returns {Promise<GenerationRecord>} */
export function cancelGeneration(id) {
  return request(generationUrl(id), { method: "DELETE", byUser: true });
}

/** @param {string} id @param {number} index of the picture, from 0 @returns {Promise<Blob>} */
export function getImage(id, index) {
  return request(`${generationUrl(id)}/images/${index}`, { read: (response) => response.blob() });
}

/** @param {string[]} ids */
export function eventsUrl(ids) {
  return keys.withKey(eventsPath(ids));
}

/** @param {string[]} ids @returns {Promise<string>} why the server refuses them, in its words; empty if it does not */
export async function whyNoEvents(ids) {
  try {
    await request(eventsPath(ids), { read: async (response) => response.body?.cancel() });
    return "";
  } catch (error) {
    if (!(error instanceof ApiError)) {
      throw error;
    }
    return TOLD_ELSEWHERE.has(error.status) ? "" : error.message;
  }
}

/** @param {string} key @returns {Promise<boolean>} whether the service lets it in */
export async function isAccepted(key) {
  const response = await reach("v1/models", {}, key);
  return response.status !== 401;
}

/** Asks for a key if one is needed. @param {boolean} byUser whether a person waits for it */
export async function ensureAccess(byUser) {
  await request("v1/models", { byUser });
}

/** @param {string[]} ids */
function eventsPath(ids) {
  return `v1/events?ids=${ids.map(encodeURIComponent).join(",")}`;
}

/** @param {string} id */
function generationUrl(id) {
  return `v1/generations/${encodeURIComponent(id)}`;
}

/**
 * @typedef {object} Options
 * @property {boolean} [byUser] whether a person waits for it
 * @property {(response: Response) => Promise<any>} [read] what to take from the answer; by default its JSON
 */

/** @param {string} url @param {RequestInit & Options} [options] */
async function request(url, { byUser = false, read = readJson, ...options } = {}) {
  for (;;) {
    const key = keys.current();
    const patience = read === readJson ? PATIENCE_MS : PICTURE_PATIENCE_MS;
    const response = await reach(url, { ...options, patience }, key);
    if (response.ok) {
      return await orUnreachable(read(response));
    }
    if (response.status !== 401 || !(await keys.renew(key, byUser))) {
      throw await errorFrom(response);
    }
  }
}

/** @param {Response} response */
function readJson(response) {
  return response.json();
}

/** @param {string} url @param {RequestInit & {patience?: number}} options @param {string} key */
function reach(url, { patience = PATIENCE_MS, ...options }, key) {
  const headers = { ...options.headers, ...keys.headersFor(key) };
  return orUnreachable(fetch(url, { ...options, headers, signal: AbortSignal.timeout(patience) }));
}

/** @template T @param {Promise<T>} answer @returns {Promise<T>} */
async function orUnreachable(answer) {
  try {
    return await answer;
  } catch {
    throw new ApiError(0, "The server cannot be reached.");
  }
}

/** @param {Response} response */
async function errorFrom(response) {
  if (response.status === 401) {
    return new ApiError(401, "This service asks for an API key.");
  }
  const body = await response.json().catch(() => ({}));
  const details = Array.isArray(body.detail) ? body.detail : [];
  const fieldErrors = details.map((detail) => ({ field: fieldOf(detail.loc), message: detail.msg }));
  const message = body.message || `The server answered ${response.status}.`;
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return new ApiError(response.status, message, {
    code: body.error_type ?? "",
    fieldErrors,
    retryAfter: Number.isFinite(retryAfter) ? retryAfter : null,
  });
}

/** The field in a location such as `["body", "width"]`. @param {(string|number)[]} [location] */
function fieldOf(location = []) {
  const names = location.filter((part) => typeof part === "string" && part !== "body");
  return names[0] ?? "";
}
