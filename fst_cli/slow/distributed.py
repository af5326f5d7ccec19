"""Several processes on one update: `torchrun --nproc-per-node N -m fst_cli train-step ...`.

Parameters, gradients and optimiser state are sharded (FSDP2). Every process plans the whole batch alike and computes
its share of the micro-batches; token weights are those of the whole batch, so the sum over processes is exact however
unequal their tokens. What is written does not depend on the number of processes.
"""

import contextlib
import os
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes of a run, this one's number among them."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, batches: Sequence[T], idle: T) -> list[T]:
        """This process's batches; `idle` fills up, as all processes must make the same number of passes."""
        rounds = -(-len(batches) // self.size)
        padded = [*batches, *[idle] * (rounds * self.size - len(batches))]
        return padded[self.rank :: self.size]

    def gather(self, values: list[T]) -> list[T]:
        """The values of all processes, on each."""
        if self.size == 1:
            return values
        import torch.distributed as dist

        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, values)
        return [value for part in found for value in part]

    def wait(self) -> None:
        """Go on when all are here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def process_count() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextlib.contextmanager
def processes() -> Iterator[World]:
    """The processes that torchrun started, or this one alone."""
    size = process_count()
    if size == 1:
        yield World()
        return
    import torch
    import torch.distributed as dist

    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    yield World(dist.get_rank(), size)
    dist.destroy_process_group()  # not after an error: the others may still wait, and torchrun ends them


def shard(model: Any, world: World) -> None:
    """Shard a model over the processes, layer by layer; with one process, nothing.

    The model gets a method `fst_within`, through which its parts are used as one forward pass.
    """
    if world.size == 1 or hasattr(model, "fst_within"):
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    from fst_cli.policy.logprobs import decoder

    mesh = init_device_mesh(next(model.parameters()).device.type, (world.size,))
    for layer in decoder(model).layers:
        fully_shard(layer, mesh=mesh)
    # Output layer and embedding may be one parameter; they stay together from the forward to the backward pass.
    fully_shard(model, mesh=mesh, reshard_after_forward=False)

    def fst_within(self: Any, function: Callable[[], Any]) -> Any:
        return function()

    model.fst_within = types.MethodType(fst_within, model)
    register_fsdp_forward_method(model, "fst_within")


def whole(tensor: Any) -> Any:
    """A sharded tensor as a whole, on every process; any other as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def sharded_like(tensor: Any, parameter: Any) -> Any:
    """A whole tensor, sharded as a parameter is."""
    moved = tensor.to(parameter.device)
    if not hasattr(parameter, "device_mesh"):
        return moved
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
