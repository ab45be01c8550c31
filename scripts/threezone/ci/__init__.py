"""Jobs of a pipeline: the file that describes them, and what they may do in a cluster."""
