/** Samplers by the names that people know. */

/** @type {Record<string, string>} */
const NAMES = {
  euler: "Euler",
  euler_a: "Euler ancestral",
  dpmpp_2m: "DPM++ 2M",
  ddim: "DDIM",
  unipc: "UniPC",
  lcm: "LCM",
};

/** @param {string} sampler as the server has it */
export function samplerName(sampler) {
  return NAMES[sampler] ?? sampler;
}
