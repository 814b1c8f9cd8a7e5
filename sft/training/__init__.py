"""Train an adapter on rows of token ids. Does not know data sets, prompts or metrics."""

from sft.training.base import Method, TrainingRow, TrainOutcome, TrainRequest, train

__all__ = ["Method", "TrainOutcome", "TrainRequest", "TrainingRow", "train"]
