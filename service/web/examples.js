/** The prompts of "Eight at once": different subjects, places and times of day, all in the bundled model's world. */

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
