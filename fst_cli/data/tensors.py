"""The safetensors file beside a rollouts.jsonl: token ids, sampler log-probabilities and mask, in the same order.

Ragged rows are stored flat with offsets; row r of `completion_ids` is
`completion_ids[completion_offsets[r]:completion_offsets[r + 1]]`. `logprobs` and `sampled` share the completion's
offsets. `sampled` is false at the tokens of tool replies and of the template around them; without it, as in files
of earlier versions, all tokens were sampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fst_cli.data.errors import DataError
from fst_cli.data.files import atomic_file
from fst_cli.data.records import Rollout

_NAMES = ("prompt_ids", "prompt_offsets", "completion_ids", "completion_offsets", "logprobs")
_OF_COMPLETIONS = ("completion_ids", "logprobs", "sampled")


@dataclass(frozen=True)
class Tokens:
    """One rollout in tokens: prompt ids [P], completion ids [T], sampler log-probabilities [T] in nats, mask [T].

    `mask` is true where the model sampled the token (None: everywhere); elsewhere the log-probability means nothing
    and is 0.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    logprobs: np.ndarray
    mask: np.ndarray | None = None

    @property
    def sampled(self) -> np.ndarray:
        """Whether the model sampled the token, bool [T]."""
        return np.ones(len(self.completion_ids), dtype=bool) if self.mask is None else self.mask

    @property
    def sampled_logprobs(self) -> np.ndarray:
        """Log-probabilities [N] of the N tokens that the model sampled."""
        return self.logprobs[self.sampled]


def beside(jsonl: Path | str) -> Path:
    """The safetensors file that belongs to a rollouts.jsonl."""
    return Path(jsonl).with_suffix(".safetensors")


def write(path: Path, rows: Sequence[Tokens]) -> None:
    """Write the rows, atomically."""
    from safetensors.numpy import save_file

    arrays = {
        "prompt_ids": _flat([row.prompt_ids for row in rows], np.int32),
        "prompt_offsets": _offsets([len(row.prompt_ids) for row in rows]),
        "completion_ids": _flat([row.completion_ids for row in rows], np.int32),
        "completion_offsets": _offsets([len(row.completion_ids) for row in rows]),
        "logprobs": _flat([row.logprobs for row in rows], np.float32),
        "sampled": _flat([row.sampled for row in rows], np.bool_),
    }
    with atomic_file(path) as temporary:
        save_file(arrays, temporary)


def read(path: Path) -> list[Tokens]:
    """Read the rows.

    Raises DataError where the file is missing, broken, or its arrays do not fit each other.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file", hint="a rollouts.jsonl needs the safetensors file that was written beside it"
        ) from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a readable safetensors file: {error}") from None
    missing = [name for name in _NAMES if name not in arrays]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}")
    arrays.setdefault("sampled", np.ones(len(arrays["completion_ids"]), dtype=bool))
    for name in _OF_COMPLETIONS:
        if len(arrays[name]) != len(arrays["completion_ids"]):
            raise DataError(f"{path}: {name}: {len(arrays[name])} for {len(arrays['completion_ids'])} tokens")
    prompts = _rows(path, arrays, "prompt_ids", "prompt_offsets")
    completions, logprobs, masks = (_rows(path, arrays, name, "completion_offsets") for name in _OF_COMPLETIONS)
    if len(prompts) != len(completions):
        raise DataError(f"{path}: {len(prompts)} prompts for {len(completions)} completions")
    rows = zip(prompts, completions, logprobs, masks, strict=True)
    return [Tokens(p.tolist(), c.tolist(), logp, mask.astype(bool)) for p, c, logp, mask in rows]


def of_rollouts(path: Path, rollouts: Sequence[Rollout]) -> list[Tokens]:
    """The row of each rollout of `path`, from the safetensors file beside it.

    Raises DataError like `read`, and where a row is missing.
    """
    arrays = read(beside(path))
    for rollout in rollouts:
        if rollout.row is None or rollout.row >= len(arrays):
            raise DataError(f"{path}: rollout {rollout.id}: row {rollout.row} is not in {beside(path).name}")
    return [arrays[rollout.row or 0] for rollout in rollouts]


def _flat(rows: Sequence, dtype: type) -> np.ndarray:
    return np.concatenate([np.asarray(row, dtype=dtype) for row in rows]) if rows else np.zeros(0, dtype)


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _rows(path: Path, arrays: dict[str, np.ndarray], name: str, offsets: str) -> list[np.ndarray]:
    ends = arrays[offsets]
    if len(ends) == 0 or ends[0] != 0 or ends[-1] != len(arrays[name]) or (np.diff(ends) < 0).any():
        raise DataError(f"{path}: {offsets} do not cut {name} into rows")
    return np.split(arrays[name], ends[1:-1]) if len(ends) > 1 else []
