"""Evaluation, intervals and drift."""
