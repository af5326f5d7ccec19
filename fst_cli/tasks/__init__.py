"""One file a task family: problems, score and feedback; a registry."""
