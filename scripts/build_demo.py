"""Build the embedded demo: two data sets, a tokenizer and a tiny chat model, all from seeds.

    python scripts/build_demo.py --out etc/demo                 # everything, about half an hour of one core
    python scripts/build_demo.py --out /tmp/demo --quick        # the same steps in seconds; the model is useless
    python scripts/build_demo.py --out etc/demo --stage data    # one step: data, tokenizer, model, second, audit

It writes `data/`, `model/` and `build.json` (seeds, counts, losses, versions, the leak audit) under `--out`. An audit
that finds a leak stops the build. It does not use `sft`, so the demo shows the tool on an independent model.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tokenizers
import torch
import transformers
from demo_corpus.corpus import SECOND_SHARES, SHARES, audit, draw_documents
from demo_corpus.documents import Document
from demo_corpus.heldout import LABEL_NOISE, NOVELTY, draw_extraction, draw_sentiment, write_splits
from demo_corpus.lexicon import without_whole_towns
from demo_corpus.pretraining import Recipe, build_model, pretrain
from demo_corpus.tokens import END, PAD, encode, save_tokenizer, train_tokenizer
from transformers import LlamaForCausalLM

STAGES = ("data", "tokenizer", "model", "second", "audit")
MUST_BE_ZERO = (
    "documents_with_review_text_and_held_out_label_word",
    "documents_asking_for_the_town_of_an_order",
    "held_out_texts_found_in_pretraining",
)


@dataclass(frozen=True)
class Plan:
    """Seeds and sizes of a build; `quick` reduces the sizes, not the steps."""

    documents: int = 70_000
    second_documents: int = 45_000
    tokenizer_documents: int = 20_000
    vocabulary: int = 1536
    corpus_seed: int = 1
    second_seed: int = 2
    sentiment_seed: int = 2029
    extraction_seed: int = 2028
    training_seed: int = 3


LONGEST = "longest_user_text_in_words_beside_a_held_out_label_word"
QUICK_PLAN = Plan(documents=120, second_documents=60, tokenizer_documents=120, vocabulary=512)
QUICK_RECIPE = Recipe(hidden=32, layers=2, heads=2, key_value_heads=1, intermediate=64)


def build_data(plan: Plan, out: Path) -> dict[str, object]:
    """Write the CSV files of both tasks."""
    sentiment, extraction = draw_sentiment(plan.sentiment_seed), draw_extraction(plan.extraction_seed)
    write_splits(sentiment, out / "data" / "sentiment", ("text", "label"))
    write_splits(extraction, out / "data" / "extraction", ("text", "answer"))
    return {
        "label_noise": LABEL_NOISE,
        "share_of_new_opinion_words": NOVELTY,
        "sentiment_rows": {split: len(rows) for split, rows in sentiment.items()},
        "extraction_rows": {split: len(rows) for split, rows in extraction.items()},
    }


def build_tokenizer(plan: Plan, recipe: Recipe, documents: list[Document], out: Path) -> dict[str, object]:
    """Train the BPE on the first documents and write the tokenizer's files."""
    chosen = documents[: plan.tokenizer_documents]
    texts = [without_whole_towns(text) for document in chosen for text in document.texts()]
    texts += [turn.role for document in chosen for turn in document.turns]
    tokenizer = train_tokenizer(texts, plan.vocabulary)
    save_tokenizer(tokenizer, out / "model", recipe.positions)
    return {"vocabulary": tokenizer.get_vocab_size(), "documents": min(len(documents), plan.tokenizer_documents)}


def build_model_files(plan: Plan, recipe: Recipe, documents: list[Document], out: Path) -> dict[str, object]:
    """Pretrain on all documents and write the model in bfloat16."""
    tokenizer = tokenizers.Tokenizer.from_file(str(out / "model" / "tokenizer.json"))
    rows = [encode(document, tokenizer, recipe.answer_weight) for document in documents]
    torch.manual_seed(plan.training_seed)
    ids = tokenizer.get_vocab()
    model = build_model(recipe, len(ids), pad_id=ids[PAD], end_id=ids[END])
    figures = pretrain(model, rows, recipe, plan.training_seed)
    save_model(model, out)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "longest_document_tokens": max(len(row.ids) for row in rows),
        "recipe": asdict(recipe),
        **figures,
    }


def train_second(plan: Plan, recipe: Recipe, documents: list[Document], out: Path) -> dict[str, object]:
    """Train a second, shorter pass on other documents, mostly labelled reviews, with a decaying learning rate."""
    tokenizer = tokenizers.Tokenizer.from_file(str(out / "model" / "tokenizer.json"))
    rows = [encode(document, tokenizer, recipe.answer_weight) for document in documents]
    model = LlamaForCausalLM.from_pretrained(out / "model", dtype=torch.float32, attn_implementation="eager")
    figures = pretrain(model, rows, recipe, plan.training_seed)
    save_model(model, out)
    return {"recipe": asdict(recipe), **figures}


def save_model(model: LlamaForCausalLM, out: Path) -> None:
    """Write the weights in bfloat16, readable by everyone."""
    model.to(torch.bfloat16).save_pretrained(out / "model")
    (out / "model" / "model.safetensors").chmod(0o644)


def held_out_texts(out: Path) -> list[str]:
    """Return the inputs of every split on disk (first column)."""
    texts: list[str] = []
    for path in sorted((out / "data").glob("*/*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [line[0] for line in list(csv.reader(file))[1:]]
    return texts


def checked_audit(documents: list[Document], out: Path) -> dict[str, int]:
    """Return the leak counts; raise if one that must be 0 is not."""
    counts = audit(documents, held_out_texts(out))
    leaks = [name for name in MUST_BE_ZERO if counts[name]]
    if leaks or counts[LONGEST] > 1:
        raise SystemExit(f"the corpus leaks: {', '.join(f'{name} = {counts[name]}' for name in (*leaks, LONGEST))}")
    return counts


def record(out: Path, key: str, value: object) -> None:
    """Set a key of `build.json` and keep the other stages' keys."""
    path = out / "build.json"
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    content[key] = value
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")


def build(stages: tuple[str, ...], plan: Plan, recipe: Recipe, out: Path) -> None:
    """Run the stages in order. The corpus is drawn again from its seed and never stored."""
    out.mkdir(parents=True, exist_ok=True)
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
    }
    record(out, "versions", {"python": platform.python_version(), **versions})
    record(out, "plan", asdict(plan))
    if "data" in stages:
        record(out, "data", build_data(plan, out))
    if stages == ("data",):
        return
    documents = draw_documents(plan.documents, plan.corpus_seed)
    second = draw_documents(plan.second_documents, plan.second_seed, SECOND_SHARES)
    audits = {"corpus": checked_audit(documents, out), "second_corpus": checked_audit(second, out)}
    record(out, "corpus", {"shares": SHARES, "audit": audits["corpus"]})
    record(out, "second_corpus", {"shares": SECOND_SHARES, "audit": audits["second_corpus"]})
    if "tokenizer" in stages:
        record(out, "tokenizer", build_tokenizer(plan, recipe, documents, out))
    if "model" in stages:
        record(out, "model", build_model_files(plan, recipe, documents, out))
    if "second" in stages:
        slower = replace(recipe, matrix_rate=0.003, other_rate=0.003, hold=0.0, short_share=0.0)
        record(out, "second", train_second(plan, slower, second, out))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Builds the embedded demo model and its data sets.")
    parser.add_argument("--out", type=Path, default=Path("etc/demo"), help="folder to write to (default: etc/demo)")
    parser.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    parser.add_argument("--quick", action="store_true", help="a tiny corpus and model, to try the script in seconds")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of torch (default: 1, for the same result anywhere)"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    stages = STAGES if options.stage == "all" else (options.stage,)
    plan, recipe = (QUICK_PLAN, QUICK_RECIPE) if options.quick else (Plan(), Recipe())
    build(stages, plan, recipe, options.out)
    print(f"wrote {', '.join(stages)} to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
