"""Training methods, one file each. Their names are in `sft.plugins`; a user's own method is `"module:function"`."""
