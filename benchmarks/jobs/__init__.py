"""The jobs, a file for each subject; each has its `JOBS`."""
