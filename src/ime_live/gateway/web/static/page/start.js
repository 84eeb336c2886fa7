// Runs before the first paint, so that a choice of language or theme does not flicker.
(() => {
  let chosen = {};
  try {
    chosen = JSON.parse(localStorage.getItem("ime-live")) ?? {};
  } catch {
    // Storage may be unavailable or damaged: the system's settings count.
  }
  const root = document.documentElement;
  const language = chosen.language ?? (/^fa\b/.test(navigator.language) ? "fa" : "en");
  root.lang = language === "fa" ? "fa" : "en";
  root.dir = language === "fa" ? "rtl" : "ltr";
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  root.dataset.theme = chosen.theme === "light" || chosen.theme === "dark" ? chosen.theme : system;
})();
