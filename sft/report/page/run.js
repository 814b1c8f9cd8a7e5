// The page of a run, built from its record when it is opened.

const runs = {
  begin(shared) {
    this.shared = shared;
    this.records = new Map(all("script[data-run]").map((script) => [script.dataset.run, script]));
    this.order = [...this.records.keys()];
    this.title = document.title;
    this.from = { hash: "#", scroll: 0 };
    this.open = null;
    address.follow((now) => this.show(now.get("run")));
    one("#overview").addEventListener("click", (event) => this.leave(event));
  },

  /** Remember the position in the table for the way back. */
  leave(event) {
    const link = event.target.closest('a[href^="#run="]');
    if (link) this.from = { hash: location.hash || "#", scroll: scrollY, link };
  },

  show(id) {
    if (id === this.open) return;
    const was = this.open;
    this.open = id;
    const page = one("#run");
    one("#overview").hidden = id != null;
    page.hidden = id == null;
    page.replaceChildren();
    if (id != null) return this.turnTo(page, id);
    document.title = this.title;
    if (was == null) return;
    scrollTo(0, this.from.scroll);
    (this.from.link ?? one("#title")).focus({ preventScroll: this.from.link != null });
  },

  turnTo(page, id) {
    const record = this.read(id);
    page.append(...(record ? this.pageOf(record) : [this.heading("No such run"), this.wayBack()]));
    document.title = `${record?.name ?? "No such run"} · ${this.title}`;
    scrollTo(0, 0);
    one("#run-title").focus({ preventScroll: true });
  },

  read(id) {
    const script = this.records.get(id);
    if (!script) return null;
    const record = JSON.parse(script.textContent);
    for (const name of ["config", "environment", "labels", "diff", "resources", "subject"]) {
      if (name in record) record[name] = this.shared[name][record[name]];
    }
    return record;
  },

  heading: (text) => make("h1", { id: "run-title", tabindex: "-1" }, text),
  wayBack() {
    return make("a", { href: this.from.hash, class: "back" }, "← All configurations");
  },

  pageOf(record) {
    const parts = [factsOf(record), beside(metricsOf(record, this.shared.intervals), labelsOf(record)),
      differenceOf(record), promptsOf(record), beside(lossOf(record), reliabilityOf(record)), confusionOf(record),
      errorsOf(record), logOf(record), surroundingsOf(record)];
    return [this.ways(record), this.heading(record.name), ...parts.flat().filter(Boolean)];
  },

  ways(record) {
    const index = this.order.indexOf(record.id);
    const link = (id, text, rel) => id && make("a", { href: `#run=${encodeURIComponent(id)}`, rel }, text);
    return make("nav", { class: "ways", "aria-label": "Runs" }, this.wayBack(),
      make("span", {}, link(this.order[index - 1], "← previous", "prev"), " ", link(this.order[index + 1], "next →", "next")));
  },
};

/** Return two parts next to each other if there is room. */
const beside = (left, right) => (left && right ? make("div", { class: "beside" }, left, right) : left ?? right);

function factsOf(record) {
  const facts = [record.state, record.seed == null ? "no seed (deterministic)" : `seed ${record.seed}`,
    record.labelled == null ? null : `${record.labelled} labelled examples`, record.folder];
  return [
    ...(record.subject ?? []).map((line) => make("p", { class: "subject" }, line)),
    make("p", { class: "facts" }, facts.filter(Boolean).map((fact) => [make("span", {}, fact), " "])),
    record.error && make("p", { class: "error" }, record.error),
    record.batch && make("p", { class: "notice" }, `It ran out of memory and continued with a smaller batch: ${record.batch}.`),
  ];
}

function metricsOf({ metrics }, method) {
  if (!metrics) return null;
  const validated = metrics.some(([, , , validation]) => validation), tested = metrics.some(([, , ends]) => ends);
  const header = ["metric", "test", tested && "95 % interval", validated && "validation"];
  const rows = metrics.map(([name, test, ends, validation]) =>
    [name, test, tested && (ends || "-"), validated && (validation || "-")].filter((cell) => cell !== false));
  return section("Metrics", tableOf("Metrics of this run", header.filter(Boolean), rows, [1, 2, 3]),
    tested && method ? make("p", { class: "small" }, `Intervals: ${method}.`) : null);
}

function differenceOf({ diff, baseline, config }) {
  const difference = baseline == null ? make("p", {}, "It is not compared with another configuration.")
    : diff?.length ? tableOf(`Settings that differ from ${baseline}`, ["setting", baseline, "this run"],
      diff.map(([key, theirs, ours]) => [dotted(key), theirs, ours]))
      : make("p", {}, `It has the same settings as ${baseline}.`);
  const whole = make("pre", { tabindex: "0", "aria-label": "The whole configuration" }, JSON.stringify(config, null, 2));
  return section("Configuration", difference, folded("The whole configuration", whole));
}

/** Return a key that a line can break after each dot. */
const dotted = (key) => make("code", {}, key.split(/(?<=\.)/).map((part) => [part, make("wbr")]));

function promptsOf({ prompts, state }) {
  if (prompts) return section("Prompts", prompts.map(promptOf));
  return state === "done" ? section("Prompts", make("p", { class: "small" }, "This run has no stored prompts.")) : null;
}

function lossOf({ loss }) {
  if (!loss) return null;
  const values = Object.entries(loss).flatMap(([split, points]) => points.map(([step, value]) => ({ step, loss: value, split })));
  const ends = Object.entries(loss).map(([split, points]) => {
    const [first, last] = [points[0], points.at(-1)];
    return `${split}: from ${first[1]} at step ${first[0]} to ${last[1]} at step ${last[0]}`;
  });
  return section("Loss", charts.of("loss", values, `Loss of ${ends.join("; ")}`));
}

const MOST_LABELS = 25; // a larger matrix cannot be read

function confusionOf({ confusion, labels, per_label: scores, confusion_left_out: left }) {
  if (!confusion) return null;
  const cells = labels.length > MOST_LABELS ? mostConfused(confusion) : confusion;
  const support = new Map(scores?.map(([label, , , , rows]) => [label, rows]));
  const values = cells.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]).map(([reference, prediction, rows]) =>
    ({ reference: labels[reference], prediction: labels[prediction], rows, of: support.get(reference) }));
  const counts = confusion.map(([reference, prediction, rows]) => [labels[reference], labels[prediction], String(rows)]);
  const notes = [labels.length > MOST_LABELS && `The ${MOST_LABELS} labels with the most confusions of ${labels.length}.`,
    left && `${left} rarer pairs are left out.`].filter(Boolean);
  return section("Confusions", charts.of("confusion", values, "Rows by reference and prediction; the table below has the figures"),
    notes.length ? make("p", { class: "small" }, notes.join(" ")) : null,
    folded("As a table", tableOf("Rows by reference and prediction", ["reference", "prediction", "rows"], counts, [2])));
}

/** Return the cells of the labels that are confused most often. */
function mostConfused(cells) {
  const wrong = new Map();
  for (const [reference, prediction, rows] of cells.filter(([a, b]) => a !== b)) {
    for (const label of [reference, prediction]) wrong.set(label, (wrong.get(label) ?? 0) + rows);
  }
  const kept = new Set([...wrong].sort((a, b) => b[1] - a[1]).slice(0, MOST_LABELS).map(([label]) => label));
  return cells.filter(([reference, prediction]) => kept.has(reference) && kept.has(prediction));
}

const figure = (value) => value.toFixed(3).replace(/^0\./, ".");

function labelsOf({ per_label: scores, labels }) {
  if (!scores) return null;
  const rows = scores.map(([label, precision, recall, f1, support]) =>
    [labels[label], figure(precision), figure(recall), figure(f1), String(support)]);
  const values = scores.map(([label, precision, recall, f1, support]) =>
    ({ label: labels[label], precision, recall, f1, rows: support }));
  const drawn = values.length > 1 && values.length <= MOST_LABELS;
  return section("Labels", drawn ? charts.of("labels", values, "Scores of each label; the table below has the figures") : null, tableOf("Scores of each label", ["label", "precision", "recall", "F1", "rows"], rows, [1, 2, 3, 4]));
}

function reliabilityOf({ reliability }) {
  if (!reliability) return null;
  const kinds = Object.entries(reliability);
  const values = kinds.flatMap(([kind, bins]) => bins.map(([confidence, accuracy, rows]) => ({ kind, confidence, accuracy, rows })));
  const rows = values.map((bin) => [bin.kind, figure(bin.confidence), figure(bin.accuracy), String(bin.rows)]);
  return section("Reliability", charts.of("reliability", values, "Accuracy over confidence; the table below has the figures"),
    folded("As a table", tableOf("Bins of confidence", ["probabilities", "confidence", "accuracy", "rows"], rows, [1, 2, 3])));
}

function errorsOf({ errors, wrong }) {
  if (wrong === 0) return section("Errors", make("p", {}, "None."));
  if (!errors) return null;
  const count = errors.length < wrong ? `The worst ${errors.length} of ${wrong}.` : `${wrong} in all.`;
  return section("Errors", make("p", { class: "small" }, count), make("ol", { class: "errors" }, errors.map(errorOf)));
}

function errorOf({ row, inputs, reference, prediction, top }) {
  const several = inputs.length > 1;
  const texts = inputs.map(([name, text]) => make("p", { class: "input" }, several ? make("b", {}, `${name}: `) : null, text));
  const chances = top.map(([label, value]) => `${label} ${figure(value)}`).join(" · ");
  return make("li", {}, texts, make("dl", {},
    pair("reference", reference, "right"), pair("prediction", prediction || "(empty)", "wrong"), chances ? pair("scores", chances) : null,
    pair("row", String(row))));
}

const pair = (name, text, kind) => make("div", {}, make("dt", {}, name), make("dd", { class: kind }, text));

function logOf({ log }) {
  return log ? section("Log", make("p", { class: "small" }, "The last lines."),
    make("pre", { tabindex: "0", "aria-label": "The end of the log" }, log.join("\n"))) : null;
}

function surroundingsOf({ timings, resources, environment }) {
  const list = (title, entries) => entries.length ? folded(title, tableOf(title, ["name", "value"], entries)) : null;
  const seconds = Object.entries(timings ?? {}).map(([name, value]) => [name, `${value} s`]);
  const parts = [list("Timings", seconds), list("Resources", flat(resources)), list("Environment", flat(environment))];
  return parts.some(Boolean) ? section("How it ran", parts) : null;
}

/** Return a nested record as pairs of a dotted key and a string. */
function flat(value, before = "") {
  return Object.entries(value ?? {}).flatMap(([key, inner]) =>
    inner !== null && typeof inner === "object" ? flat(inner, `${before}${key}.`) : [[before + key, String(inner)]]);
}
