"""The whole lab at once: `up`, `down` and `status` are an observation, a pure plan, and its steps in order."""
