"""EleutherAI's lm-evaluation-harness on a loaded model.

`catalogue` finds the tasks and `tasks` loads them before the training. `run` evaluates a `language_model` after it.
The package `lm_eval` is optional and heavy: only functions that need it import it, when they are called.
"""
