/** Numbers and names as people read them. */

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 9.95) {
    return `${seconds.toFixed(1)} s`;
  }
  return wholeSeconds(Math.round(seconds));
}

/** An estimate that counts down, to "about 1 s". @param {number} seconds */
export function about(seconds) {
  return `about ${wholeSeconds(Math.max(1, Math.ceil(seconds)))}`;
}

/** @param {number} seconds whole */
function wholeSeconds(seconds) {
  if (seconds < 60) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) {
    return inTwo(minutes, "min", seconds % 60, "s");
  }
  return inTwo(Math.floor(minutes / 60), "h", minutes % 60, "min");
}

/** `1 min 5 s`, `2 h` @param {number} whole @param {string} unit @param {number} rest @param {string} smaller */
function inTwo(whole, unit, rest, smaller) {
  return rest === 0 ? `${whole} ${unit}` : `${whole} ${unit} ${rest} ${smaller}`;
}

/** A file name that says what is in it. @param {string} prompt @param {number|null} seed @param {string} type */
export function fileName(prompt, seed, type) {
  const words = prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 48).replace(/^-|-$/g, "");
  return `${words || "picture"}-${seed}.${type.replace("image/", "").replace("jpeg", "jpg")}`;
}

/** The server's words as a sentence. @param {string} text */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}
