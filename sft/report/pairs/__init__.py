"""Two runs side by side: which rows they answer differently, and whether one reproduces the other."""
