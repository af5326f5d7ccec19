"""The real vLLM, in process and as servers; it runs in an environment that has it (README, "Engines").

On a machine without a GPU: bash ../shared/vllm-cpu.sh VENV (or any vLLM build for CPUs), then in that environment
pip install -e '.[test]' and pytest -m slow tests/engines/test_vllm_engine.py
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest

from fst_cli.data.errors import RunError
from fst_cli.data.records import Sampling
from fst_cli.engines.base import Request
from fst_cli.engines.registry import Engines
from fst_cli.engines.settings import EngineSettings
from fst_cli.policy.chat import encode_chat
from fst_cli.policy.model import load_policy, save_weights
from fst_cli.policy.names import resolve_model

pytestmark = pytest.mark.slow
pytest.importorskip("vllm", reason="vLLM is not installed; how to run these: head of tests/engines/test_vllm_engine.py")
SAMPLING = Sampling(max_tokens=16, temperature=0.8)


@pytest.fixture(scope="module")
def requests(mini):
    texts = ["What is 4 + 5?", "Compute 17 - 8.", "Hello."]
    return [Request(encode_chat(mini.tokenizer, [{"role": "user", "content": t}]), s) for t in texts for s in range(8)]


def children():
    """Processes that run below this one, apart from Python's own resource tracker."""
    import psutil

    alive = [process for process in psutil.Process().children(recursive=True) if process.status() != "zombie"]
    return [process for process in alive if not any("resource_tracker" in word for word in process.cmdline())]


@pytest.fixture(scope="module", params=["lora", "merge"])
def engines(request):
    before = children()
    with Engines(EngineSettings(name="vllm", adapters=request.param, max_context=512)) as opened:
        yield opened
    assert [process for process in children() if process not in before] == []


def sampled(engines, policy, requests):
    """Completions, checked against the policy's own model."""
    engine = engines.of(policy)
    found = engine.generate(requests, SAMPLING)
    assert engine.agreement.mismatch_kl < 1e-6
    return [one.ids for one in found]


def test_weights_are_swapped_adapter_by_adapter_and_whole(engines, mini, adapter, requests, tmp_path):
    base = sampled(engines, mini, requests)
    trained = load_policy("mini", adapter)
    changed = sampled(engines, trained, requests)
    assert changed != base
    assert sampled(engines, mini, requests) == base  # the same seeds, the same text
    whole = load_policy("mini")
    for parameter in whole.model.parameters():
        parameter.data.mul_(1.05)
    save_weights(whole, tmp_path / "weights")
    assert sampled(engines, whole, requests) != base
    assert sampled(engines, trained, requests) == changed


def test_other_seeds_other_text_and_every_token_is_there(engines, mini, requests):
    engine = engines.of(mini)
    first = engine.generate(requests, SAMPLING)
    other = engine.generate([Request(one.prompt_ids, one.seed + 100) for one in requests], SAMPLING)
    assert [one.ids for one in first] != [one.ids for one in other]
    for one in first:
        stops = [id_ in mini.stop_ids for id_ in one.ids]
        assert not any(stops[:-1]) and len(one.logprobs) == len(one.ids) <= 16
        assert (one.finish_reason == "stop") == stops[-1]
    greedy = [one.ids for one in engine.generate(requests, Sampling(max_tokens=8, temperature=0.0))]
    assert greedy == [ids for ids in greedy[::8] for _ in range(8)]


def test_weights_that_were_not_loaded_are_noticed(engines, mini, adapter, requests):
    engines.of(mini).generate(requests, SAMPLING)
    engine = engines.of(load_policy("mini", adapter))
    engine._engine.load(mini)
    with pytest.raises(RunError, match="the vllm engine and the trainer's model disagree"):
        engine.generate(requests, SAMPLING)


def test_standard_output_holds_records_only(fst):
    problems = fst("generate", "--task", "math", "--limit", "2", "-o", "-")
    done = fst("rollout", "-", "--engine", "vllm", "--max-context", "512", "--max-tokens", "8", "-o", "-",
               stdin=problems.stdout)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 16 and all(line.startswith("{") for line in done.stdout.splitlines())


@contextlib.contextmanager
def server(core):
    """A vLLM server of mini on one core; its URL and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", resolve_model("mini"), "--port", str(port),
        "--dtype", "float32", "--enforce-eager", "--max-model-len", "512", "--enable-lora", "--max-lora-rank", "16",
        "--generation-config", "vllm", "--logprobs-mode", "processed_logprobs", "--served-model-name", "mini",
    ]  # fmt: skip
    added = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": str(core), "VLLM_LOGGING_LEVEL": "ERROR",
    }  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, **added}, start_new_session=True)
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            assert process.poll() is None, "the server ended"
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1", process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_two_servers_take_an_adapter_and_one_is_killed_on_the_way(mini, adapter, requests):
    trained = load_policy("mini", adapter)
    many = [Request(one.prompt_ids, 0) for one in requests] * 8
    cores = sorted(os.sched_getaffinity(0))
    with server(cores[0]) as (first, process), server(cores[-1]) as (second, _):
        settings = EngineSettings(name="openai", base_url=f"{first},{second}", seeds="engine", max_batch=16)
        with Engines(settings) as opened:
            before = opened.of(mini)
            before.generate(requests, SAMPLING)
            engine, told = opened.of(trained), []

            def advance(count):
                told.append(count)
                if len(told) == 20:
                    threading.Thread(target=os.killpg, args=(process.pid, signal.SIGKILL)).start()

            found = engine.generate(many, SAMPLING, advance)
            assert len(found) == sum(told) == len(many) and process.wait(30)
            assert before.agreement.mismatch_kl < 1e-6 and engine.agreement.mismatch_kl < 1e-6
            assert all(np.isfinite(one.logprobs).all() for one in found)
            assert engine._engine._servers[0].down and not engine._engine._servers[1].down
