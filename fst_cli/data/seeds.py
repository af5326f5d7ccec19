"""Counter-based randomness: every draw has an address, so nothing needs to be saved or restored.

There is no global generator. A draw is seeded from the place it is made at, for example
``derive(run_seed, "rollout", cycle, step, problem_id, prompt_id, sample)``; running one stage again, alone or
after a crash, makes the same draws whatever ran before it.
"""

import hashlib
import random

Part = int | str


def derive(*parts: Part) -> int:
    """A 63-bit seed, a pure function of `parts` (order and types matter: 1 and "1" differ)."""
    text = "".join(f"{type(part).__name__}:{len(str(part))}:{part};" for part in parts)  # lengths make it injective
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 1


def generator(*parts: Part) -> random.Random:
    """A `random.Random` seeded by `derive(*parts)`."""
    return random.Random(derive(*parts))
