"""The model: base, tokenizer, quantisation and adapters, loaded and saved. Knows no data, prompts or training."""
