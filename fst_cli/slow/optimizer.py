"""AdamW with linear warm-up, whose state lives in a safetensors file."""

from pathlib import Path
from typing import Any

from fst_cli.data.errors import DataError
from fst_cli.data.files import atomic_file
from fst_cli.slow.distributed import World, sharded_like, whole

MOMENTS = ("exp_avg", "exp_avg_sq")


def make_optimizer(model: Any, rate: float) -> Any:
    """AdamW with β = (0.9, 0.999) and no weight decay (PAPER section 2) over the trainable parameters."""
    import torch

    return torch.optim.AdamW(list(_trainable(model).values()), lr=rate, betas=(0.9, 0.999), weight_decay=0.0)


def warmed_up(rate: float, step: int, warmup: int) -> float:
    """The learning rate of update number `step` (from 0): linear over `warmup` updates, then constant."""
    return rate * min(1.0, (step + 1) / warmup) if warmup else rate


def save_state(optimizer: Any, model: Any, path: Path, step: int, world: World) -> None:
    """Write both moments of every trainable parameter, whole, and the number of updates made."""
    from safetensors.torch import save_file

    arrays = {}
    for name, parameter in _trainable(model).items():
        for moment in MOMENTS:
            value = whole(optimizer.state[parameter][moment])
            if world.is_main:
                arrays[f"{name}.{moment}"] = value.cpu().contiguous()
    if world.is_main:
        with atomic_file(path) as temporary:
            save_file(arrays, temporary, metadata={"step": str(step)})


def load_state(optimizer: Any, model: Any, path: Path) -> int:
    """Restore what `save_state` wrote, by however many processes; the number of updates made.

    Raises DataError where the file does not belong to this model.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            for name, parameter in _trainable(model).items():
                moments = {m: sharded_like(file.get_tensor(f"{name}.{m}"), parameter) for m in MOMENTS}
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is not the optimiser state of these weights: {error}") from None
    return step


def _trainable(model: Any) -> dict[str, Any]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
