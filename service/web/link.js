/** Settings in the fragment of an address, which browsers do not send to any server. */

/** @typedef {import("./api.js").Settings} Settings */

/** What each is called in a link. @type {[keyof Settings, string][]} */
const NUMBERS = [
  ["width", "width"],
  ["height", "height"],
  ["num_inference_steps", "steps"],
  ["guidance_scale", "guidance"],
  ["num_images", "pictures"],
  ["seed", "seed"],
];

/** @param {Settings} settings */
export function toFragment(settings) {
  const fields = new URLSearchParams({ prompt: settings.prompt });
  fields.set("without", settings.negative_prompt ?? "");
  for (const [name, word] of NUMBERS) {
    if (settings[name] !== undefined) {
      fields.set(word, String(settings[name]));
    }
  }
  if (settings.sampler) {
    fields.set("sampler", settings.sampler);
  }
  return fields.toString();
}

/**
 * Whatever is no setting, or no number where one should be, is left out.
 * @param {string} fragment with or without its `#`
 * @returns {Settings|null} null: it tells no prompt
 */
export function fromFragment(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const prompt = fields.get("prompt");
  if (!prompt) {
    return null;
  }
  const numbers = NUMBERS.map(([name, word]) => [name, Number.parseFloat(fields.get(word) ?? "")]);
  return {
    prompt,
    negative_prompt: fields.get("without") || null,
    ...Object.fromEntries(numbers.filter(([, number]) => Number.isFinite(number))),
    ...(/^\w+$/.test(fields.get("sampler") ?? "") ? { sampler: fields.get("sampler") } : {}),
  };
}
