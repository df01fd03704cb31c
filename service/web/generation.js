/** How far one generation has come, as this page knows it. Knows nothing of the network or of what is drawn. */

/**
 * `sending`: the server was asked and has not answered yet. `held`: sent as soon as the server takes work. `refused`:
 * it would not take it. `gone`: it no longer knows it. The others are the server's own.
 * @typedef {"sending"|"held"|"refused"|"queued"|"running"|"succeeded"|"failed"|"cancelled"|"gone"} Phase
 */

/** Steps made on average over its pictures, and milliseconds. @typedef {{made: number, at: number}} Mark */

/**
 * What is kept of one, in JSON.
 * @typedef {object} Snapshot
 * @property {string} key its name in this browser, before the server gives it an id and after it forgets it
 * @property {number} at milliseconds since 1970
 * @property {string} owner
 * @property {import("./api.js").Settings} settings
 * @property {Phase} phase
 * @property {string} id
 * @property {number} totalSteps
 * @property {number|null} seed
 * @property {number} width
 * @property {number} height
 * @property {number|null} seconds
 * @property {boolean} truncated
 * @property {boolean} cancelling
 * @property {string} message
 */

const LIVE = new Set(["sending", "held", "queued", "running"]);
const ON_SERVER = new Set(["queued", "running"]);
const NUM_SEEDS = 2 ** 32;
const LEAST_STEPS_TO_JUDGE = 3;
const MARKS = 10; // previews of each picture from which its pace is measured: a pause is soon forgotten
const KEPT = ["phase", "id", "totalSteps", "seed", "width", "height", "seconds", "truncated", "cancelling", "message"];

export class Generation {
  /** @param {import("./api.js").Settings} settings @param {string} [key] @param {number} [at] */
  constructor(settings, key = newKey(), at = Date.now()) {
    this.settings = settings;
    this.key = key;
    this.at = at;
    /** @type {Phase} */
    this.phase = "sending";
    this.id = "";
    /** How many steps each picture has made. @type {number[]} */
    this.steps = new Array(settings.num_images ?? 1).fill(0);
    this.totalSteps = settings.num_inference_steps ?? 0;
    /** @type {number|null} how many come before it */
    this.queuePosition = null;
    /** @type {number|null} seconds to its end, as they were at `toldAt` */
    this.etaSeconds = null;
    /** Milliseconds: when the server was last heard of it. */
    this.toldAt = 0;
    /** How far it was, and when: of late, and not at the first preview, which may be an old one. @type {Mark[]} */
    this.marks = [];
    this.numPreviews = 0;
    /** @type {number|null} */
    this.seed = settings.seed ?? null;
    this.width = settings.width ?? 0;
    this.height = settings.height ?? 0;
    /** @type {number|null} from the first step to the last */
    this.seconds = null;
    this.truncated = false;
    this.cancelling = false;
    /** Whether what is known of it may be out of date, because the server cannot be heard. */
    this.isUnheard = false;
    /** What went wrong, in the server's words. */
    this.message = "";
    /** Milliseconds: when the server would have it tried again; 0: it did not say. */
    this.retryAt = 0;
  }

  /** @param {Snapshot} snapshot */
  static from(snapshot) {
    const generation = new Generation(snapshot.settings, snapshot.key, snapshot.at);
    generation.take(snapshot);
    return generation;
  }

  /** What another tab knows of it. @param {Snapshot} snapshot */
  take(snapshot) {
    Object.assign(this, new Generation(snapshot.settings, this.key, this.at));
    for (const name of KEPT) {
      this[name] = snapshot[name] ?? this[name];
    }
  }

  /** @param {string} owner @returns {Snapshot} */
  snapshot(owner) {
    const kept = Object.fromEntries(KEPT.map((name) => [name, this[name]]));
    return /** @type {Snapshot} */ ({ key: this.key, at: this.at, owner, settings: this.settings, ...kept });
  }

  get numImages() {
    return this.steps.length;
  }

  /** Steps on average over its pictures: where there is little room, some wait. */
  get made() {
    return this.steps.reduce((sum, step) => sum + step, 0) / this.numImages;
  }

  /** The same as people count: 0 only before the first preview. */
  get step() {
    return Math.ceil(this.made);
  }

  get isLive() {
    return LIVE.has(this.phase);
  }

  /** Whether the server has news of it to come. */
  get isOnServer() {
    return ON_SERVER.has(this.phase);
  }

  get isStopping() {
    return this.cancelling && this.isLive;
  }

  /** The settings that make the same picture again. @returns {import("./api.js").Settings} */
  get reusableSettings() {
    return this.seed === null ? this.settings : { ...this.settings, seed: this.seed };
  }

  /** @param {number} index of a picture @returns {number|null} */
  seedOf(index) {
    return this.seed === null ? null : (this.seed + index) % NUM_SEEDS;
  }

  /** To its end, as far as can be told; null: it cannot. @param {number} now milliseconds @returns {number|null} */
  secondsLeft(now) {
    const [first] = this.marks;
    const last = this.marks.at(-1);
    if (this.phase === "running" && first && last && last.made - first.made >= LEAST_STEPS_TO_JUDGE) {
      const perStep = (last.at - first.at) / 1000 / (last.made - first.made);
      return Math.max(0, perStep * (this.totalSteps - last.made) - (now - last.at) / 1000);
    }
    return this.etaSeconds === null ? null : Math.max(0, this.etaSeconds - (now - this.toldAt) / 1000);
  }

  /** Before the request is sent, for the first time or again: then for the same picture. */
  restart() {
    Object.assign(this, new Generation(this.reusableSettings, this.key, this.at));
  }

  /** A record never takes back an end that was already seen. @param {import("./api.js").GenerationRecord} record */
  apply(record) {
    if (!this.isLive) {
      return;
    }
    this.isUnheard = false;
    this.id = record.id;
    this.phase = record.status;
    this.steps = this.steps.map((step) => Math.max(step, record.step));
    this.totalSteps = record.total_steps;
    this.queuePosition = record.queue_position;
    this.etaSeconds = record.eta_seconds;
    this.toldAt = Date.now();
    this.seed = record.seed;
    this.width = record.width;
    this.height = record.height;
    this.truncated = record.prompt_truncated;
    this.seconds = record.started_at && record.finished_at ? record.finished_at - record.started_at : null;
    this.message = record.error?.message ?? "";
  }

  /** @param {{image_index: number, step: number, total_steps: number}} preview */
  advance(preview) {
    this.isUnheard = false;
    this.phase = "running";
    this.steps[preview.image_index] = Math.max(this.steps[preview.image_index] ?? 0, preview.step);
    this.totalSteps = preview.total_steps;
    this.toldAt = Date.now();
    this.numPreviews += 1;
    if (this.numPreviews > 1) {
      this.marks = [...this.marks, { made: this.made, at: this.toldAt }].slice(-MARKS * this.numImages);
    }
  }

  /** @param {number} seconds until it should be sent again */
  hold(seconds) {
    this.phase = "held";
    this.retryAt = Date.now() + seconds * 1000;
  }

  /** @param {string} message @param {number|null} [retryAfter] seconds */
  refuse(message, retryAfter = null) {
    this.phase = "refused";
    this.message = message;
    this.retryAt = retryAfter === null ? 0 : Date.now() + retryAfter * 1000;
  }

  /** Before the server had it. */
  withdraw() {
    this.phase = "cancelled";
  }

  /** @param {string} message */
  lose(message) {
    this.isUnheard = false;
    this.phase = "gone";
    this.message = message;
  }
}

function newKey() {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return `${Date.now().toString(36)}-${random.toString(36)}`;
}
