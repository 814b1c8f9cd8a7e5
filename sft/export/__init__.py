"""What was trained, made ready to be used elsewhere: adapters with another base path, merged models, the hub.

Loads models and scores texts; trains and judges nothing.
"""
