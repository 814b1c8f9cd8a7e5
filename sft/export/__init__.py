"""Export trained adapters and models: with another base path, merged, or uploaded to the Hub.

It loads models and scores texts, but does not train or evaluate.
"""
