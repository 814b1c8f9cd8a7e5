"""What answers prompts: one file per backend, all behind the protocol in `base.py`. Their names: `sft.plugins`."""
