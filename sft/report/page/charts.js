// Draw the figures: when they come into view, the rest when the browser is idle, and again when the theme changes. They are
// Vega-Lite specifications. Their expressions are interpreted, since the page's policy forbids code from strings.

const charts = {
  shared: null,
  entries: new Map(), // element -> {spec, dark: the theme it was drawn in, drawn: the result of vegaEmbed}

  begin(shared) {
    this.shared = shared;
    this.watcher = new IntersectionObserver((seen) => {
      for (const { target } of seen.filter((one) => one.isIntersecting)) this.draw(target);
    }, { rootMargin: "300px" });
    addEventListener("theme", () => this.all());
    addEventListener("figures-ready", () => this.all());
    const groups = one("#figures");
    if (!groups) return;
    groups.hidden = false;
    const specs = json("drawings"), captions = json("captions");
    for (const figure of all("[data-group]", groups)) this.beginGroup(figure, specs, captions);
  },

  beginGroup(figure, specs, captions) {
    const canvas = one(".canvas", figure), select = one("select", figure);
    const put = (index) => {
      const [title, caption] = captions[index];
      one("h3", figure).textContent = title;
      one("figcaption", figure).textContent = caption;
      canvas.setAttribute("aria-label", `${title}. ${caption}`);
      this.assign(canvas, specs[index]);
    };
    put(canvas.dataset.drawing);
    select?.addEventListener("change", () => put(select.value));
  },

  /** Return an element that shows a template of the run pages with data. */
  of(name, values, label) {
    const element = make("div", { class: "canvas", "aria-label": label });
    const template = this.shared.templates[name];
    this.assign(element, { ...template, data: { ...template.data, values } });
    return element;
  },

  /** Show a specification in an element. */
  assign(element, spec) {
    this.entries.get(element)?.drawn?.finalize();
    this.entries.set(element, { spec, dark: null, drawn: null });
    element.setAttribute("role", "group"); // the drawing and the menu that saves it
    this.watcher.unobserve(element);
    this.watcher.observe(element);
    this.later();
  },

  /** Check all figures again: those in view are drawn now. */
  all() {
    for (const [element, entry] of this.entries) {
      this.watcher.unobserve(element);
      if (element.isConnected) {
        this.watcher.observe(element);
      } else {
        entry.drawn?.finalize();
        this.entries.delete(element);
      }
    }
    this.later();
  },

  /** Draw the figures that were not in view yet, so that they can be printed. */
  later() {
    const soon = window.requestIdleCallback ?? ((call) => setTimeout(call, 200));
    (window.cancelIdleCallback ?? clearTimeout)(this.waiting);
    this.waiting = soon(async () => {
      const left = [...this.entries].find(([element, entry]) => element.offsetParent && entry.dark !== theme.isDark());
      if (left && window.vegaEmbed) {
        await this.draw(left[0]);
        this.later();
      }
    });
  },

  async draw(element) {
    const entry = this.entries.get(element), dark = theme.isDark();
    if (!entry || !window.vegaEmbed || entry.dark === dark) return;
    entry.dark = dark;
    element.style.minHeight = `${element.offsetHeight}px`; // keeps the content below from moving
    const shown = make("div", { class: "drawing" });
    element.replaceChildren(shown);
    try {
      const drawn = await window.vegaEmbed(shown, entry.spec, this.options(dark));
      one("summary", shown)?.setAttribute("aria-label", "Save this figure");
      entry.drawn?.finalize();
      entry.drawn = drawn;
    } catch (error) {
      shown.textContent = "This figure cannot be drawn.";
      console.error(error);
    }
    element.style.minHeight = "";
  },

  options(dark) {
    return {
      mode: "vega-lite", renderer: "svg", ast: true, logLevel: 1, config: this.shared.themes[dark ? "dark" : "light"],
      actions: { export: { png: true, svg: true }, source: false, compiled: false, editor: false },
      tooltip: { disableDefaultStyle: true }, downloadFileName: "figure",
    };
  },
};
