"""What a run leaves behind: its folder, its state, and its result, written so that nothing finished is ever lost."""
