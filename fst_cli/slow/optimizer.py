"""AdamW with linear warm-up, whose state lives in a safetensors file."""

from pathlib import Path
from typing import Any

from fst_cli.data.errors import DataError
from fst_cli.data.files import atomic_file


def make_optimizer(model: Any, rate: float) -> Any:
    """AdamW with β = (0.9, 0.999) and no weight decay (PAPER section 2) over the trainable parameters."""
    import torch

    return torch.optim.AdamW(list(_trainable(model).values()), lr=rate, betas=(0.9, 0.999), weight_decay=0.0)


def warmed_up(rate: float, step: int, warmup: int) -> float:
    """The learning rate of update number `step` (from 0): linear over `warmup` updates, then constant."""
    return rate * min(1.0, (step + 1) / warmup) if warmup else rate


def save_state(optimizer: Any, model: Any, path: Path, step: int) -> None:
    """Write both moments of every trainable parameter, and the number of updates made."""
    from safetensors.torch import save_file

    arrays = {}
    for name, parameter in _trainable(model).items():
        for moment in ("exp_avg", "exp_avg_sq"):
            arrays[f"{name}.{moment}"] = optimizer.state[parameter][moment].contiguous()
    with atomic_file(path) as temporary:
        save_file(arrays, temporary, metadata={"step": str(step)})


def load_state(optimizer: Any, model: Any, path: Path) -> int:
    """Restore what `save_state` wrote; the number of updates made.

    Raises DataError where the file does not belong to this model.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            for name, parameter in _trainable(model).items():
                moments = {moment: file.get_tensor(f"{name}.{moment}") for moment in ("exp_avg", "exp_avg_sq")}
                moved = {moment: value.to(parameter.device) for moment, value in moments.items()}
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moved}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is not the optimiser state of these weights: {error}") from None
    return step


def _trainable(model: Any) -> dict[str, Any]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
