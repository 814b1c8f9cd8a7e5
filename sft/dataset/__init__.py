"""Rows, labels and shots: open data sets in any local form or from the Hub, and draw few-shot samples from them."""
