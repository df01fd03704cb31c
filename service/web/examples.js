/** Prompts to start from. All of them lie in the world that the bundled model paints. */

/** The eight that "Eight at once" sends: different subjects, places and times of day. */
export const EIGHT_PROMPTS = [
  "a beautiful sunset over the sea, with a boat with a red sail",
  "a white house in a green field under a blue sky, with clouds",
  "a purple tree in the snow at sunrise",
  "a green cactus in the desert at night, with stars",
  "a boat with a yellow sail on a lake by day, with snowy mountains",
  "three orange trees in a green field at sunset",
  "a blue house in the snow at night, with the moon",
  "a boat with a pink sail on the sea in a storm",
];

/** @type {{label: string, prompt: string}[]} what the chips under the prompt box offer */
export const EXAMPLES = [
  { label: "red boat, sunset", prompt: "a red boat on the sea at sunset" },
  { label: "white house", prompt: EIGHT_PROMPTS[1] },
  { label: "tree in the snow", prompt: EIGHT_PROMPTS[2] },
  { label: "cactus at night", prompt: EIGHT_PROMPTS[3] },
  { label: "lake, snowy peaks", prompt: EIGHT_PROMPTS[4] },
  { label: "stormy sea", prompt: EIGHT_PROMPTS[7] },
];
