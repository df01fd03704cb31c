// Loaded before the page's own scripts: notes every picture that is shown and every event stream that is opened.
(() => {
  const frames = {};
  const sources = [];
  const RealEventSource = window.EventSource;
  window.EventSource = class extends RealEventSource {
    constructor(url) {
      super(url);
      sources.push(this);
      window.recorded.mostStreams = Math.max(window.recorded.mostStreams, window.recorded.openStreams());
    }
  };
  window.recorded = {
    frames,
    mostStreams: 0,
    openStreams: () => sources.filter((source) => source.readyState !== RealEventSource.CLOSED).length,
    streamsEver: () => sources.length,
    steps: {},
    tallies: [],
  };
  const note = (image) => {
    const id = image.closest(".card").dataset.id;
    const sources = (frames[id] ??= []);
    if (!sources.includes(image.src)) {
      sources.push(image.src);
    }
  };
  const noteSteps = () => {
    for (const progress of document.querySelectorAll(".card progress")) {
      (window.recorded.steps[progress.closest(".card").dataset.id] ??= []).push(progress.value);
    }
  };
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (node instanceof HTMLImageElement) {
          note(node);
        }
      }
    }
    noteSteps();
    window.recorded.tallies.push(document.getElementById("tally")?.textContent ?? "");
  }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["value"] });
})();
