"""What predictions are worth: metrics of references and predictions.

Knows no model and no files, so that stored predictions can be judged again. Names of further metrics: `sft.plugins`.
"""
