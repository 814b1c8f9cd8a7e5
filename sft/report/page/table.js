// Sort and filter the comparison table, hide columns, open seeds. The template has written its text already.

const comparison = {
  begin() {
    this.table = one("#comparison");
    this.heads = all("thead th", this.table);
    this.bodies = all("tbody", this.table);
    this.texts = this.bodies.map((body) => this.wordsOf(body));
    this.sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, this.sheet];
    this.heads.forEach((head) => this.makeSortable(head));
    this.bodies.forEach((body, index) => this.makeFoldable(body, index));
    this.listen();
    address.follow((now) => this.show(now));
  },

  /** Return the text that the filter searches: settings, names and states of runs. Figures would match by chance. */
  wordsOf(body) {
    const settings = this.heads.map((head, column) => column).filter((column) => this.heads[column].className === "setting");
    const rows = [...body.rows].filter((row) => !row.classList.contains("remarks"));
    const cells = rows.flatMap((row) => [...settings.map((column) => row.cells[column]), [...row.cells].at(-1)]);
    return cells.filter((cell) => cell).map((cell) => cell.textContent).join(" ").toLowerCase();
  },

  makeSortable(head) {
    const button = make("button", { type: "button", class: "sort" }, head.textContent, make("i", { "aria-hidden": "true" }));
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const { key, first } = head.dataset;
      const up = key, down = `-${key}`;
      const order = first === "descending" ? [down, up, null] : [up, down, null];
      const next = order[(order.indexOf(address.read().get("sort")) + 1) % order.length];
      address.change({ sort: next });
    });
  },

  makeFoldable(body, index) {
    const head = one("th", body);
    const others = one(".folded", head); // settings, on a narrow screen
    others?.remove();
    const text = head.textContent.trim(), { name } = body.dataset;
    body.id = `row-${index}`;
    const button = make("button", { type: "button", class: "fold", "aria-expanded": "false", "aria-controls": body.id },
      make("i", { "aria-hidden": "true" }), text, make("span", { class: "unseen" }, name ? `, seeds of ${name}` : ", its seeds"));
    head.replaceChildren(button, others ?? "");
    button.addEventListener("click", () => this.fold(body, !body.classList.contains("open")));
  },

  fold(body, open) {
    body.classList.toggle("open", open);
    one(".fold", body).setAttribute("aria-expanded", String(open));
  },

  listen() {
    const tools = one("#tools");
    tools.hidden = false;
    tools.addEventListener("submit", (event) => event.preventDefault());
    one("#filter").addEventListener("input", (event) => address.change({ q: event.target.value }, true));
    for (const select of all("[data-choice]", tools)) {
      select.addEventListener("change", () => address.change({ [select.dataset.choice]: select.value }));
    }
    for (const box of all("[data-column]", tools)) {
      box.addEventListener("change", () => address.change({ flip: this.flipped(box).join(" ") }));
    }
    const columns = one(".columns", tools);
    columns.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !columns.open) return;
      columns.open = false;
      one("summary", columns).focus();
    });
    document.addEventListener("click", (event) => { columns.open &&= columns.contains(event.target); });
    const seeds = one("#all-seeds");
    seeds.addEventListener("click", () => {
      const open = seeds.getAttribute("aria-pressed") !== "true";
      seeds.setAttribute("aria-pressed", String(open));
      this.bodies.forEach((body) => this.fold(body, open));
    });
    tools.addEventListener("reset", (event) => {
      event.preventDefault();
      const keys = all("[data-choice]", tools).map((select) => select.dataset.choice);
      address.change(Object.fromEntries(["sort", "q", "flip", ...keys].map((key) => [key, null])));
    });
  },

  /** Return the columns whose visibility differs from the initial one, after a box was ticked. */
  flipped(box) {
    const now = new Set((address.read().get("flip") ?? "").split(" ").filter(Boolean));
    if (now.has(box.dataset.key)) now.delete(box.dataset.key);
    else now.add(box.dataset.key);
    return [...now];
  },

  show(now) {
    this.showColumns(now);
    this.sort(now.get("sort") ?? "");
    this.filter(now);
  },

  showColumns(now) {
    const flipped = (now.get("flip") ?? "").split(" ");
    const hidden = [];
    for (const box of all("[data-column]")) {
      const before = !this.heads[box.dataset.column - 1].hasAttribute("data-hidden");
      box.checked = before !== flipped.includes(box.dataset.key);
      if (!box.checked) hidden.push(`#comparison tr:not(.remarks) > :nth-child(${box.dataset.column})`);
    }
    this.sheet.replaceSync(hidden.length ? `${hidden.join(",")}{display:none}` : "");
  },

  sort(order) {
    const down = order.startsWith("-");
    const key = down ? order.slice(1) : order;
    const column = this.heads.findIndex((head) => head.dataset.key === key);
    this.heads.forEach((head, other) => {
      if (other === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const sorted = column < 0 ? this.bodies : this.sorted(column, down ? -1 : 1);
    if (sorted.some((body, other) => body !== this.table.tBodies[other])) this.table.append(...sorted);
  },

  /** Return the rows in order: numbers before words, missing values always last. `direction` is 1 or -1. */
  sorted(column, direction) {
    const entries = this.bodies.map((body) => {
      const cell = body.rows[0].cells[column];
      const text = (column ? cell.textContent : one(".fold", cell).childNodes[1].textContent).trim();
      const number = Number(cell.dataset.value ?? (text === "" ? NaN : text));
      return { body, text, number, rank: text === "-" || text === "" ? 2 : Number.isNaN(number) ? 1 : 0 };
    });
    const difference = (a, b) => (a.rank ? a.text.localeCompare(b.text, "en", { numeric: true }) : a.number - b.number);
    return entries
      .sort((a, b) => a.rank - b.rank || (a.rank === 2 ? 0 : direction * difference(a, b)))
      .map((entry) => entry.body);
  },

  filter(now) {
    const words = (now.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    if (one("#filter").value !== (now.get("q") ?? "")) one("#filter").value = now.get("q") ?? "";
    const wanted = all("[data-choice]").map((select) => {
      select.value = now.get(select.dataset.choice) ?? "";
      return [this.heads.findIndex((head) => head.dataset.key === select.dataset.choice), select.value.slice(1)];
    }).filter(([, value]) => value);
    let shown = 0;
    this.bodies.forEach((body, index) => {
      const cells = body.rows[0].cells;
      const fits = words.every((word) => this.texts[index].includes(word)) &&
        wanted.every(([column, value]) => this.settingOf(cells[column], column) === value);
      body.hidden = !fits;
      shown += fits;
    });
    const total = this.bodies.length;
    one("#count").textContent = shown === total ? `${total} ${total === 1 ? "row" : "rows"}` : `${shown} of ${total} rows`;
  },

  settingOf: (cell, column) => (column ? cell.textContent : one(".fold", cell).childNodes[1].textContent).trim(),
};
