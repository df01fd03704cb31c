// The body of a function: the words and the edges of fields that can be seen and stand out too little from their ground.
// https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
const [leastForWords, leastForEdges] = arguments;
const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

/** Of any CSS colour: red, green and blue from 0 to 255, alpha from 0 to 1. */
function channels(colour) {
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = pen.getImageData(0, 0, 1, 1).data;
  return [red, green, blue, alpha / 255];
}

function laidOver([red, green, blue, alpha], ground) {
  return [red, green, blue].map((value, index) => value * alpha + ground[index] * (1 - alpha)).concat(1);
}

function groundOf(element) {
  const own = channels(getComputedStyle(element).backgroundColor);
  return own[3] === 1 || !element.parentElement ? own : laidOver(own, groundOf(element.parentElement));
}

function luminance(colour) {
  const [red, green, blue] = colour.map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(colour, ground) {
  const [dark, light] = [luminance(laidOver(channels(colour), ground)), luminance(ground)].sort((one, other) => one - other);
  return (light + 0.05) / (dark + 0.05);
}

const hasWords = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
const seen = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility());
const faintWords = seen
  .filter((element) => hasWords(element) && !element.closest(":disabled, option"))
  .filter((element) => contrast(getComputedStyle(element).color, groundOf(element)) < leastForWords);
const faintEdges = seen
  .filter((element) => element.matches(".field :is(input, select, textarea)"))
  .filter((element) => contrast(getComputedStyle(element).borderTopColor, groundOf(element.parentElement)) < leastForEdges);
return [...faintWords, ...faintEdges].map((element) => element.outerHTML.slice(0, 120));
