"""Build prompts: a row becomes a conversation, token ids, and a loss mask known by construction.

Training, in-context examples, generation, scoring and calibration all use `render.Renderer`.
"""
