// Run before the page is painted, so that a chosen theme does not flash. The rest of the switch is in main.js.
try {
  const chosen = localStorage.getItem("quell-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // a browser that keeps nothing shows the theme of its system
}
