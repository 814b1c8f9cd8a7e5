"""`python -m sft`: the same as `python -m sft.cli`."""

from sft.cli.main import main

if __name__ == "__main__":
    main()
