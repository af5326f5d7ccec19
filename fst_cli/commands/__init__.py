"""One file a subcommand: options -> one stage function. Nothing else."""
