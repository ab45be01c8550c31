"""One typed client for each program that we start: argument lists are spelled here and nowhere else."""
