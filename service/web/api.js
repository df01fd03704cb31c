/** The native HTTP interface. Addresses are relative, so the page also works below a path of a proxy. */

/**
 * What the form asks for; names and meanings are those of `POST v1/generations`. Absent: the server's default.
 * @typedef {object} Settings
 * @property {string} prompt
 * @property {string|null} [negative_prompt] null: none
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [num_inference_steps]
 * @property {number} [guidance_scale]
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
   * @param {FieldError[]} fieldErrors
   * @param {number|null} retryAfter seconds
   */
  constructor(status, message, fieldErrors = [], retryAfter = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.fieldErrors = fieldErrors;
    this.retryAfter = retryAfter;
  }
}

/** @param {Settings & Record<string, unknown>} body @returns {Promise<GenerationRecord>} */
export async function createGeneration(body) {
  const headers = { "Content-Type": "application/json" };
  const response = await request("v1/generations", { method: "POST", headers, body: JSON.stringify(body) });
  return response.json();
}

/** @param {string} id @returns {Promise<GenerationRecord>} */
export async function getGeneration(id) {
  return (await request(generationUrl(id))).json();
}

/** @param {string} id @returns {Promise<GenerationRecord>} */
export async function cancelGeneration(id) {
  return (await request(generationUrl(id), { method: "DELETE" })).json();
}

/** @param {string} id @returns {Promise<Blob>} */
export async function getImage(id) {
  return (await request(`${generationUrl(id)}/images/0`)).blob();
}

/** @param {string[]} ids */
export function eventsUrl(ids) {
  return `v1/events?ids=${ids.map(encodeURIComponent).join(",")}`;
}

/** @param {string} id */
function generationUrl(id) {
  return `v1/generations/${encodeURIComponent(id)}`;
}

/** @param {string} url @param {RequestInit} [options] */
async function request(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (!response.ok) {
    throw await errorFrom(response);
  }
  return response;
}

/** @param {Response} response */
async function errorFrom(response) {
  const body = await response.json().catch(() => ({}));
  const details = Array.isArray(body.detail) ? body.detail : [];
  const fieldErrors = details.map((detail) => ({ field: fieldOf(detail.loc), message: detail.msg }));
  const message = body.message || `The server answered ${response.status}.`;
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After") ?? "");
  return new ApiError(response.status, message, fieldErrors, Number.isFinite(retryAfter) ? retryAfter : null);
}

/** The field in a location such as `["body", "width"]`. @param {(string|number)[]} [location] */
function fieldOf(location = []) {
  const names = location.filter((part) => typeof part === "string" && part !== "body");
  return names[0] ?? "";
}
