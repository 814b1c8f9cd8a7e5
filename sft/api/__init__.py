"""The Python door: what `import sft` offers. See docs/python.md."""
