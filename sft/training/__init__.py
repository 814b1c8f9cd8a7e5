"""Training: a method turns rows of token ids into a trained adapter. Knows no data sets, prompts or metrics."""

from sft.training.base import Method, TrainingRow, TrainOutcome, TrainRequest, train

__all__ = ["Method", "TrainOutcome", "TrainRequest", "TrainingRow", "train"]
