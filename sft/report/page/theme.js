// Light or dark: the system's choice until somebody presses the button, then that, remembered.

const theme = {
  system: matchMedia("(prefers-color-scheme: dark)"),
  isDark: () => (document.documentElement.dataset.theme ?? (theme.system.matches ? "dark" : "light")) === "dark",

  begin() {
    const button = one("#theme");
    const tell = () => {
      button.setAttribute("aria-pressed", String(theme.isDark()));
      dispatchEvent(new Event("theme"));
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      const chosen = theme.isDark() ? "light" : "dark";
      document.documentElement.dataset.theme = chosen;
      try {
        localStorage.setItem("sft-theme", chosen);
      } catch { /* then it lasts as long as the page */ }
      tell();
    });
    theme.system.addEventListener("change", tell);
    tell();
  },
};
