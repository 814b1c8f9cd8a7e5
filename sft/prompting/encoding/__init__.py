"""Texts to token ids: encoding, truncation, and checks of both."""
