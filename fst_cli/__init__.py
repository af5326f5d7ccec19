"""fst: Fast-Slow Training of language models, as separate stages that read and write files."""

__version__ = "0.1.0"
