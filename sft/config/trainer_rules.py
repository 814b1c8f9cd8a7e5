"""Arguments of the trainer that would do something else here than what they say, or nothing. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def trainer_contradictions(args: Mapping[str, Any], validates: bool) -> Iterator[str]:
    """What cannot be, one line each.

    Args:
        args: as the user gives them, under their current names.
        validates: whether shots judge the training (`training.validation_size`).
    """
    if args.get("packing") or args.get("padding_free"):
        # Without flash attention some models then attend across rows, silently.
        yield "leave out packing and padding_free: each row is trained on its own"
    if args.get("auto_find_batch_size"):
        # It would go on from the weights of the attempt that failed, with smaller steps.
        yield "leave out auto_find_batch_size: max_batch_tokens bounds what goes through the model at once"
    if args.get("load_best_model_at_end"):
        yield "leave out load_best_model_at_end: with training.validation_size, the best weights are kept"
    if args.get("save_strategy") == "best":
        yield 'save_strategy "best": with training.validation_size, the best weights are kept in any case'
    if args.get("metric_for_best_model") not in (None, "loss", "eval_loss"):
        yield 'metric_for_best_model is "loss": the validation rows are judged by nothing else'
    if validates and args.get("eval_strategy") == "no":
        yield 'eval_strategy "no" leaves training.validation_size without use: leave one of them out'
    if not validates and (args.get("eval_strategy", "no") != "no" or args.get("eval_on_start")):
        yield "eval_strategy and eval_on_start need rows to judge by: set training.validation_size"
