"""What runs inside vLLM's own processes: methods that its workers get in addition."""

import torch


class SeededWorker:
    """Mixed into vLLM's worker (its `worker_extension_cls`)."""

    def fst_seed(self, seed: int) -> None:
        """Seed the draws of all requests without a seed of their own."""
        torch.manual_seed(seed)
