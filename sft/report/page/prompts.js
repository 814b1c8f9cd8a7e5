// A prompt as its run saw it: what is trained on stands out by colour, underline and words; the template is dim.

const KINDS = {
  template: "template", instruction: "instruction", input: "input", example_input: "example",
  example_answer: "example's answer", completion: "answer", left_out: "left out",
};

function promptOf(prompt) {
  const trained = prompt.pieces.some(([, mark]) => mark);
  const what = prompt.role === "train" ? "A prompt that it was trained on" : "A prompt that it was judged on";
  const tokens = [["prompt", prompt.prompt_tokens], ["answer", prompt.answer_tokens]]
    .filter(([, count]) => count != null).map(([name, count]) => `${count} tokens of ${name}`);
  const row = prompt.row == null ? "" : ` (row ${prompt.row})`;
  return make("figure", { class: "prompt" },
    make("h3", {}, `${what}${row}`),
    make("p", { class: "facts" }, tokens.join(", ")),
    make("pre", { tabindex: "0", "aria-label": what }, prompt.pieces.map(pieceOf)),
    make("figcaption", {}, trained
      ? "Underlined: the loss is taken on these tokens. Dim: the template's own words."
      : "Nothing of it is trained on; behind it stands the row's own answer. Dim: the template's own words."));
}

function pieceOf([kind, mark, text]) {
  const known = kind in KINDS ? kind : "input";
  if (!mark) return make("span", { class: `piece ${known}`, title: KINDS[known] }, text);
  return make("mark", { class: `piece ${known}`, title: `${KINDS[known]}, trained on` },
    make("span", { class: "unseen" }, "[trained on: "), text, make("span", { class: "unseen" }, "]"));
}
