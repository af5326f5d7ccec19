"""Sampling: one small protocol, one file an engine; and collecting scored rollouts through it."""
