"""Φ: the population of prompts, its reflectors, and its evolution with gepa."""
