// Before anything is drawn: scripts run, and which theme was chosen here the last time.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const chosen = localStorage.getItem("sft-theme");
    if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  } catch { /* no storage here: the system's theme */ }
})();
