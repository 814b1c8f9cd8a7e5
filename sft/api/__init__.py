"""The Python interface: the functions and classes of `import sft`. See docs/python.md."""
