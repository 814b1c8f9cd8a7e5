"""What a sweep is going to do: configs checked, jobs, options and slots."""
