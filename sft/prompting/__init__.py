"""The one place where prompts are built: a row becomes a conversation, token ids, and a mask known by construction.

Training, in-context examples, generation, scoring and calibration all go through `render.Renderer`.
"""
