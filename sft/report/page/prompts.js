// A prompt of a run: trained tokens are marked by colour, underline and hidden text; the template is dim.

const KINDS = {
  template: "template", instruction: "instruction", input: "input", example_input: "example",
  example_answer: "example's answer", completion: "answer", left_out: "left out",
};

function promptOf(prompt) {
  const trained = prompt.pieces.some(([, mark]) => mark);
  const what = prompt.role === "train" ? "A training prompt" : "An evaluated prompt";
  const tokens = [["prompt", prompt.prompt_tokens], ["answer", prompt.answer_tokens]]
    .filter(([, count]) => count != null).map(([name, count]) => `${count} tokens of ${name}`);
  const row = prompt.row == null ? "" : ` (row ${prompt.row})`;
  return make("figure", { class: "prompt" },
    make("h3", {}, `${what}${row}`),
    make("p", { class: "facts" }, tokens.join(", ")),
    make("pre", { tabindex: "0", "aria-label": what }, prompt.pieces.map(pieceOf)),
    make("figcaption", {}, trained
      ? "Underlined: the loss is computed on these tokens. Dim: text of the template."
      : "No token is trained on. The last piece is the row's own answer. Dim: text of the template."));
}

function pieceOf([kind, mark, text]) {
  const known = kind in KINDS ? kind : "input";
  if (!mark) return make("span", { class: `piece ${known}`, title: KINDS[known] }, text);
  return make("mark", { class: `piece ${known}`, title: `${KINDS[known]}, trained on` },
    make("span", { class: "unseen" }, "[trained on: "), text, make("span", { class: "unseen" }, "]"));
}
