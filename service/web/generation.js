/** How far one generation has come, as this page knows it. Knows nothing of the network or of what is drawn. */

/**
 * `sending`: the server was asked and has not answered yet. `refused`: it would not take it. `gone`: it no longer
 * knows it. The others are the server's own.
 * @typedef {"sending"|"refused"|"queued"|"running"|"succeeded"|"failed"|"cancelled"|"gone"} Phase
 */

const LIVE = new Set(["sending", "queued", "running"]);

export class Generation {
  /** @param {import("./api.js").Settings} settings */
  constructor(settings) {
    this.settings = settings;
    /** @type {Phase} */
    this.phase = "sending";
    this.id = "";
    this.step = 0;
    this.totalSteps = settings.num_inference_steps ?? 0;
    /** @type {number|null} how many come before it */
    this.queuePosition = null;
    /** @type {number|null} to its end */
    this.etaSeconds = null;
    /** @type {number|null} */
    this.seed = settings.seed ?? null;
    this.width = settings.width ?? 0;
    this.height = settings.height ?? 0;
    /** @type {number|null} from the first step to the last */
    this.seconds = null;
    this.truncated = false;
    this.cancelling = false;
    /** What went wrong, in the server's words. */
    this.message = "";
  }

  get isLive() {
    return LIVE.has(this.phase);
  }

  get isStopping() {
    return this.cancelling && this.isLive;
  }

  /** The settings that make the same picture again. @returns {import("./api.js").Settings} */
  get reusableSettings() {
    return this.seed === null ? this.settings : { ...this.settings, seed: this.seed };
  }

  /** Before the request is sent, for the first time or again. */
  restart() {
    Object.assign(this, new Generation(this.settings));
  }

  /** A record never takes back an end that was already seen. @param {import("./api.js").GenerationRecord} record */
  apply(record) {
    if (!this.isLive) {
      return;
    }
    this.id = record.id;
    this.phase = record.status;
    this.step = Math.max(this.step, record.step);
    this.totalSteps = record.total_steps;
    this.queuePosition = record.queue_position;
    this.etaSeconds = record.eta_seconds;
    this.seed = record.seed;
    this.width = record.width;
    this.height = record.height;
    this.truncated = record.prompt_truncated;
    this.seconds = record.started_at && record.finished_at ? record.finished_at - record.started_at : null;
    this.message = record.error?.message ?? "";
  }

  /** @param {{step: number, total_steps: number}} preview */
  advance(preview) {
    this.phase = "running";
    this.step = Math.max(this.step, preview.step);
    this.totalSteps = preview.total_steps;
  }

  /** @param {string} message */
  refuse(message) {
    this.phase = "refused";
    this.message = message;
  }

  /** @param {string} message */
  lose(message) {
    this.phase = "gone";
    this.message = message;
  }
}
