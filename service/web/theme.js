// Loaded before the page is drawn, so that it never shows in the wrong colours first.
try {
  const theme = localStorage.getItem("latentcast.theme");
  if (theme === "dark" || theme === "light") {
    document.documentElement.dataset.theme = theme;
  }
} catch {
  // Without storage, the colours are the system's.
}
