"""Models: names, loading, adapters, chat templates, log-probabilities."""
