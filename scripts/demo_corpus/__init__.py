"""The parts of `scripts/build_demo.py`: word lists, text grammars, chat tasks, held-out data, tokenizer, pre-training.

Knows nothing of `sft`: the demo model and its data are made without the tool that they demonstrate.
"""
