"""EleutherAI's lm-evaluation-harness on a loaded model: `find` its tasks, `opened` before the training, `ask` after it.

The package `lm_eval` is optional and heavy: only `opened`, `ask` and `lent` import it, and only when they are called.
"""
