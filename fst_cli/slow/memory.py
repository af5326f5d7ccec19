"""How many tokens a micro-batch may hold, from what the model keeps for its backward pass and the machine's memory.

Total memory decides, not what happens to be free: micro-batches, and with them the last bits of a gradient, must be
the same when a run is resumed.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fst_cli.data.errors import RunError
from fst_cli.policy.logprobs import TokenSequence, causal, completion_logprobs, decoder, within

SHARE = 1 / 3  # of the machine's memory, for weights, optimiser and activations together
PROBE = 64  # tokens
MOST = 8192  # tokens; larger micro-batches are not faster
LEAST = 256


def automatic_micro_tokens(model: Any, sequences: list[TokenSequence], checkpointing: bool, processes: int) -> int:
    """Tokens of a micro-batch that fit into a share of the memory of this machine, or of this GPU."""
    if not sequences:
        return LEAST
    kept = kept_bytes_per_token(model, sequences)
    if checkpointing:  # one layer's at a time, and the input of each layer
        layers = len(decoder(model).layers)
        kept = kept / layers + layers * causal(model).config.get_text_config().hidden_size * 4
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    fixed = sum(size * (4 if trained else 1) for size, trained in sizes)  # with gradient and two moments
    on_gpu = next(model.parameters()).device.type == "cuda"
    budget = SHARE * total_memory(on_gpu) / (1 if on_gpu else processes) - fixed / processes
    return int(min(MOST, max(LEAST, budget / kept)))


def kept_bytes_per_token(model: Any, sequences: list[TokenSequence]) -> float:
    """Bytes that autograd keeps for each token between forward and backward pass, measured on a few tokens."""
    import torch

    kept: dict[int, int] = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage.nbytes())
        # Detached: a graph that holds its own output would never be freed.
        alive.append(tensor.detach())  # or its address could be used again
        return tensor.detach()

    alive: list[Any] = []
    ids = (sequences[0].inputs * PROBE)[:PROBE]
    probe = [TokenSequence(ids[:-1], ids[-1:])]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        within(model, lambda: completion_logprobs(model, probe, 1.0))
    return sum(kept.values()) / (PROBE - 1)


def total_memory(gpu: bool) -> int:
    """Bytes of the GPU, or of this machine within its container's limit."""
    import torch

    if gpu:
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    with contextlib.suppress(OSError, ValueError):
        return min(machine, int(limit.read_text()))
    return machine


@contextlib.contextmanager
def explained(micro_tokens: int, checkpointing: bool) -> Iterator[None]:
    """Turn running out of memory into a RunError that names the flag to lower (PITFALLS 23)."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(
            said in str(error) for said in ("out of memory", "can't allocate memory")
        ):
            raise
        more = "" if checkpointing else ", or add --gradient-checkpointing"
        raise RunError(
            f"out of memory with micro-batches of {micro_tokens} tokens", hint=f"lower --micro-tokens{more}"
        ) from None


def peak_memory() -> int:
    """Bytes at the peak: of the GPU since the process began, else of the process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
