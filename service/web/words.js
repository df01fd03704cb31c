/** Numbers and names as people read them. */

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 9.95) {
    return `${seconds.toFixed(1)} s`;
  }
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** A file name that says what is in it. @param {string} prompt @param {number|null} seed @param {string} type */
export function fileName(prompt, seed, type) {
  const words = prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 48).replace(/^-|-$/g, "");
  return `${words || "picture"}-${seed}.${type.replace("image/", "").replace("jpeg", "jpg")}`;
}
