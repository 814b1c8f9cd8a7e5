// The theme, light or dark: the system's until the button is pressed, then the chosen theme, which is remembered.

const theme = {
  system: matchMedia("(prefers-color-scheme: dark)"),
  isDark: () => (document.documentElement.dataset.theme ?? (theme.system.matches ? "dark" : "light")) === "dark",

  begin() {
    const button = one("#theme");
    const update = () => {
      button.setAttribute("aria-pressed", String(theme.isDark()));
      dispatchEvent(new Event("theme"));
    };
    button.hidden = false;
    button.addEventListener("click", () => {
      const chosen = theme.isDark() ? "light" : "dark";
      document.documentElement.dataset.theme = chosen;
      try {
        localStorage.setItem("sft-theme", chosen);
      } catch { /* no storage: the choice lasts as long as the page */ }
      update();
    });
    theme.system.addEventListener("change", update);
    update();
  },
};
