"""EleutherAI's lm-evaluation-harness on a loaded model.

`catalogue` finds its tasks, `tasks` opens them before the training, `run` asks them after it, of a `language_model`.
The package `lm_eval` is optional and heavy: functions import it, and only when they are called.
"""
