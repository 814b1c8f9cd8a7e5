"""Models: load and save bases, tokenizers, quantised models and adapters."""
