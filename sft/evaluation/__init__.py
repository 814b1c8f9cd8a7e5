"""Metrics of references and predictions.

Uses no model and no files, so that stored predictions can be evaluated again. Names of further metrics: `sft.plugins`.
"""
