// Run before anything is drawn: note that scripts are on, and restore the theme that was chosen last time.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    const chosen = localStorage.getItem("sft-theme");
    if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  } catch { /* no storage: keep the system's theme */ }
})();
