"""θ: groups -> advantages -> loss -> one update."""
