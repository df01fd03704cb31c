/** Sizes worth offering around a model's own. */

/** @typedef {{name: string, width: number, height: number}} Size */

/** Name, and the share of the model's own width and height. @type {[string, number, number][]} */
const SHAPES = [
  ["Small", 0.75, 0.75],
  ["Large", 1.25, 1.25],
  ["Landscape", 1.25, 0.75],
  ["Portrait", 0.75, 1.25],
];

/** @param {import("./health.js").Model} model @returns {Size[]} without the model's own */
export function sizesAround(model) {
  const { default_width: ownWidth, default_height: ownHeight } = model;
  return SHAPES.map(([name, across, up]) => ({
    name,
    width: fit(ownWidth * across, model),
    height: fit(ownHeight * up, model),
  })).filter(({ width, height }) => width !== ownWidth || height !== ownHeight);
}

/** @param {Size} size */
export function sizeOption({ name, width, height }) {
  return new Option(`${name}, ${width} × ${height}`, `${width}x${height}`);
}

/** The nearest side that the model can paint. @param {number} side @param {import("./health.js").Model} model */
function fit(side, { size_multiple: multiple, min_size: smallest, max_size: largest }) {
  return Math.min(Math.max(Math.round(side / multiple) * multiple, smallest), largest);
}
