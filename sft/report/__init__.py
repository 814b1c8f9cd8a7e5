"""The comparison: a pure function of valid result files and the plan. It uses no models and runs nothing."""
