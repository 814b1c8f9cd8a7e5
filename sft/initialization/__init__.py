"""Where an adapter starts: initialisers, and the care that the model's function stays the base's at step 0."""
