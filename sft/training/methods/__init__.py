"""Training methods, one file each; a user's own as `"module:function"`. Their names: `sft.plugins`."""
