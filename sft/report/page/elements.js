// Elements made of names and texts. Nothing here or elsewhere turns a string into markup.

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element; its properties are attributes, its children elements or texts, null for none. */
function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== ""));
  return made;
}

/** A table of texts: header, rows, how many of the first columns head their row, and which columns hold numbers. */
function tableOf(caption, header, rows, numbers = []) {
  const kind = (place) => (numbers.includes(place) ? { class: "number" } : {});
  const head = header.map((text, place) => make("th", { scope: "col", ...kind(place) }, text));
  const body = rows.map((row) =>
    make("tr", {}, row.map((cell, place) =>
      place ? make("td", kind(place), cell) : make("th", { scope: "row", ...kind(place) }, cell))));
  const table = make("table", { class: "plain" },
    make("caption", { class: "unseen" }, caption), make("thead", {}, make("tr", {}, head)), make("tbody", {}, body));
  return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, table);
}

const folded = (title, ...children) => make("details", {}, make("summary", {}, title), ...children);
const section = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);
const json = (id) => JSON.parse(document.getElementById(id).textContent);
