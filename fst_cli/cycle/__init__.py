"""Algorithm 1: the plan of a run (which stages, from which files) and its runner."""
