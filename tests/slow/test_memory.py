import resource
import subprocess
import sys

import pytest

from fst_cli.data import jsonl, tensors
from fst_cli.data.records import Rollout
from fst_cli.data.tensors import Tokens
from fst_cli.policy.logprobs import TokenSequence
from fst_cli.policy.model import make_trainable
from fst_cli.slow import memory
from fst_cli.slow.memory import automatic_micro_tokens, kept_bytes_per_token

ADDRESS_SPACE = 3 << 30  # bytes; 16 rollouts of 4000 tokens want some 4 GB at once, one wants 0.3
SEQUENCES = [TokenSequence(list(range(1, 50)), list(range(1, 50)))]


def test_what_autograd_keeps_is_measured_and_more_for_all_weights_than_for_an_adapter(fresh_mini):
    make_trainable(fresh_mini, "full", 4, 0)
    full = kept_bytes_per_token(fresh_mini.model, SEQUENCES)
    # A Llama layer keeps some 12 vectors of the model's width and 4 of the inner width, in float32.
    config = fresh_mini.model.config
    expected = 4 * config.num_hidden_layers * (12 * config.hidden_size + 4 * config.intermediate_size)
    assert 0.5 * expected < full < 2 * expected


@pytest.mark.parametrize("gigabytes", [1, 8])
def test_micro_batches_grow_with_the_memory_and_with_checkpointing(fresh_mini, monkeypatch, gigabytes):
    make_trainable(fresh_mini, "full", 4, 0)
    monkeypatch.setattr(memory, "MOST", 10**9)

    def tokens(size, checkpointing=False, processes=1):
        monkeypatch.setattr(memory, "total_memory", lambda gpu: size)
        return automatic_micro_tokens(fresh_mini.model, SEQUENCES, checkpointing, processes)

    size = gigabytes << 30
    assert tokens(size) < tokens(2 * size) < tokens(2 * size, checkpointing=True)
    assert tokens(size, processes=2) < tokens(size)
    assert tokens(1) == memory.LEAST


def test_the_memory_is_the_machines_or_its_containers():
    assert 1 << 28 < memory.total_memory(gpu=False) < 1 << 48


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space, which only Linux enforces")
def test_running_out_of_memory_names_the_flag_to_lower(tmp_path, written):
    rows = tensors.read(tensors.beside(written))
    long = [
        Tokens([(7 * i + j) % 900 + 5 for j in range(4000)], r.completion_ids, r.logprobs) for i, r in enumerate(rows)
    ]
    path = tmp_path / "rollouts.jsonl"
    jsonl.write(path, list(jsonl.read(written, Rollout)))
    tensors.write(tensors.beside(path), long)

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    command = [
        sys.executable,
        "-m",
        "fst_cli",
        "train-step",
        str(path),
        "-o",
        str(tmp_path / "out"),
        "--method",
        "full",
    ]
    done = subprocess.run([*command, "--micro-tokens", "100000"], capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "out of memory with micro-batches of 100000 tokens" in done.stderr
    assert "hint: lower --micro-tokens, or add --gradient-checkpointing" in done.stderr
    assert not (tmp_path / "out" / "train.json").exists()


def test_measuring_leaves_nothing_behind(fresh_mini):
    """300 steps of a run once took a gigabyte: the measured graph held itself."""
    import gc

    import torch

    def tensors_alive():
        gc.collect()
        return sum(isinstance(one, torch.Tensor) for one in gc.get_objects())

    make_trainable(fresh_mini, "lora", 4, 0)
    kept_bytes_per_token(fresh_mini.model, SEQUENCES)
    before = tensors_alive()
    for _ in range(3):
        kept_bytes_per_token(fresh_mini.model, SEQUENCES)
    assert tensors_alive() == before
