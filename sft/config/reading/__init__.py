"""From files to values: JSON, Jsonnet, task files, and the paths and modules that they name."""
