"""One update by two processes (gloo, CPU) against the same by one."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from fst_cli.data import jsonl, tensors
from fst_cli.data.files import read_json
from fst_cli.data.records import Rollout
from fst_cli.slow.distributed import World

pytestmark = pytest.mark.slow  # each step starts processes of its own


def train(processes, rollouts, out, *options):
    """`fst train-step`, under torchrun where there are several processes; its metrics."""
    launch = (
        [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    )
    command = [sys.executable, *launch, "-m", "fst_cli", "train-step", str(rollouts), "-o", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("update ") == 1  # one process speaks
    return read_json(out / "train.json")


def assert_same(one, other, method):
    """The same files, to 1e-5."""
    for name in (
        "weights/adapter_model.safetensors" if method == "lora" else "weights/model.safetensors",
        "optimizer.safetensors",
    ):
        mine, theirs = load_file(one / name), load_file(other / name)
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert value.dtype == theirs[key].dtype
            assert (value - theirs[key]).abs().max() <= 1e-5, (name, key)
    assert {f.name for f in (one / "weights").iterdir()} == {f.name for f in (other / "weights").iterdir()}


# The rate is small where all weights are trained: Adam's first steps divide by the gradient's own size, and what
# rounds a gradient of 1e-9 to another must not show.
METHODS = {"lora": ["--lr", "1e-3"], "full": ["--method", "full", "--lr", "1e-5"]}


@pytest.mark.parametrize("method", list(METHODS))
def test_two_processes_make_the_update_of_one_and_the_number_may_change_between_steps(written, tmp_path, method):
    common = [*METHODS[method], "--micro-tokens", "300"]
    for first, second in ((1, 2), (2, 1)):
        place = tmp_path / str(first)
        figures = train(first, written, place / "0", *common)
        assert figures["processes"] == first
        more = train(second, written, place / "1", "--weights", str(place / "0" / "weights"), *common)
        assert more["update"] == 2 and more["kl_to_base"] > 0
    for number in ("0", "1"):
        assert_same(tmp_path / "1" / number, tmp_path / "2" / number, method)
        one, two = (read_json(tmp_path / str(first) / number / "train.json") for first in (1, 2))
        for name in ("loss", "grad_norm", "entropy", "mismatch_kl", "kl_to_base", "reward_mean"):
            assert one[name] == pytest.approx(two[name], abs=1e-5), name


def test_a_process_without_work_joins_in(written, tmp_path):
    path = tmp_path / "two.jsonl"
    jsonl.write(path, [r.model_copy(update={"group_id": "g"}) for r in list(jsonl.read(written, Rollout))[:2]])
    tensors.write(tensors.beside(path), tensors.read(tensors.beside(written))[:2])
    for processes in (1, 3):
        figures = train(processes, path, tmp_path / str(processes), "--lr", "1e-3")
        assert figures["grad_norm"] > 0
    assert_same(tmp_path / "1", tmp_path / "3", "lora")


def test_batches_are_shared_out_in_rounds_that_are_the_same_for_all():
    batches = [[0], [1], [2], [3], [4]]
    shares = [World(rank, 3).share(batches, []) for rank in range(3)]
    assert shares == [[[0], [3]], [[1], [4]], [[2], []]]
