// Loaded before the page's own scripts: notes every picture that is shown, every event stream that is opened, and every
// moment in which a picture that was there was not to be seen, what some lines have said, and what moved by itself.
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
    flickers: 0,
    moves: () => (noteMoves(moveObserver.takeRecords()), moves),
    mostStreams: 0,
    openStreams: () => sources.filter((source) => source.readyState !== RealEventSource.CLOSED).length,
    streamsEver: () => sources.length,
    steps: {},
    texts: Object.fromEntries(["tally", "notice-text", "live-state", "announcer"].map((id) => [id, []])),
  };
  const moves = [];
  const noteMoves = (shifts) => {
    for (const { sources } of shifts.filter(({ hadRecentInput }) => !hadRecentInput)) {
      const down = sources.filter(({ previousRect: before, currentRect: after }) => before.top !== after.top);
      moves.push(...down.map(({ node }) => node?.id || node?.className || node?.nodeName));
    }
  };
  const moveObserver = new PerformanceObserver((list) => noteMoves(list.getEntries()));
  moveObserver.observe({ type: "layout-shift", buffered: true });
  const note = (image) => {
    const id = image.closest(".card, .live")?.dataset.id ?? "live";
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
  const noteTexts = () => {
    for (const [id, texts] of Object.entries(window.recorded.texts)) {
      const text = document.getElementById(id)?.textContent ?? "";
      if (texts.at(-1) !== text) {
        texts.push(text);
      }
    }
  };
  const painted = new WeakSet();
  const isOpaque = (image) => image.complete && image.naturalWidth > 0 && getComputedStyle(image).opacity === "1";
  const lookForFlicker = () => {
    for (const print of document.querySelectorAll(".print:not(:disabled)")) {
      const isSeen = [...print.children].some(isOpaque);
      window.recorded.flickers += painted.has(print) && !isSeen ? 1 : 0;
      if (isSeen) {
        painted.add(print);
      }
    }
    requestAnimationFrame(lookForFlicker);
  };
  requestAnimationFrame(lookForFlicker);
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (node instanceof HTMLImageElement) {
          note(node);
        }
      }
    }
    noteSteps();
    noteTexts();
  }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["value"] });
})();
