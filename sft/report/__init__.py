"""The comparison: a pure function of valid result files and the plan. Knows no models, runs nothing."""
