/** Tells screen readers what has happened, politely, and what happens together in one go. */

const GATHER_MS = 300;

/** @type {string[]} */
let news = [];

/** @param {string} text */
export function announce(text) {
  news.push(text);
  if (news.length === 1) {
    setTimeout(tell, GATHER_MS);
  }
}

function tell() {
  const region = document.getElementById("announcer");
  if (region) {
    region.textContent = news.join(". ");
  }
  news = [];
}
