// Create elements from names and strings. No script of the page turns a string into markup.

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Return an element. Properties are attributes, children are elements or strings; null is ignored. */
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== ""));
  return made;
}

/** Return a table of strings: caption, header, rows, and the indices of the columns with numbers. */
function tableOf(caption, header, rows, numbers = []) {
  const kind = (column) => (numbers.includes(column) ? { class: "number" } : {});
  const head = header.map((text, column) => make("th", { scope: "col", ...kind(column) }, text));
  const body = rows.map((row) =>
    make("tr", {}, row.map((cell, column) =>
      column ? make("td", kind(column), cell) : make("th", { scope: "row", ...kind(column) }, cell))));
  const table = make("table", { class: "plain" },
    make("caption", { class: "unseen" }, caption), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body));
  return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, table);
}

const folded = (title, ...children) => make("details", {}, make("summary", {}, title), ...children);
const section = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);
const json = (id) => JSON.parse(document.getElementById(id).textContent);
