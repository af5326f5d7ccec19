"""What reads rollouts and proposes an edited prompt: one small protocol, one file a kind."""
