"""Rows, labels and shots: opens data sets of any local form or from the hub, and draws few-shot samples from them."""
