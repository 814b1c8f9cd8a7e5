"""sft: which few-shot recipe works best here? One Jsonnet grid in, a comparison table out."""

__version__ = "0.1.0"
