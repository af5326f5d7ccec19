"""vLLM in this process: fast on GPUs, with adapters swapped in from the step's weights folder.

Every sampling field is set (PITFALLS 2), and vLLM's defaults are kept out (`generation_config="vllm"`). The CPU build
differs in two ways that are said when it starts: it dies of a seed per request, so it is seeded per call; and it
serves adapters five times slower than merged weights, so merged weights are reloaded.
"""

import contextlib
import gc
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fst_cli.console import say
from fst_cli.data.errors import RunError, UsageError
from fst_cli.data.records import FinishReason, Sampling
from fst_cli.data.seeds import derive
from fst_cli.engines.base import Completion, Request
from fst_cli.engines.settings import EngineSettings
from fst_cli.policy.merged import save_merged
from fst_cli.policy.model import BASE, Policy
from fst_cli.policy.names import resolve_model


class VllmEngine:
    """One `vllm.LLM` over a base model."""

    name = "vllm"

    def __init__(self, policy: Policy, settings: EngineSettings) -> None:
        _environment()
        try:
            from vllm.platforms import current_platform
        except ImportError as error:
            raise UsageError(f"vLLM can't be imported: {error}", hint="pip install 'fst-cli[vllm]'") from None
        self._on_cpu = on_cpu = current_platform.is_cpu()
        self.seeds = ("engine" if on_cpu else "request") if settings.seeds == "auto" else settings.seeds
        self.adapters = ("merge" if on_cpu else "lora") if settings.adapters == "auto" else settings.adapters
        if self.seeds == "engine":  # with a core of its own, requests would meet in batches by chance
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        self._settings, self._context = settings, policy.context
        self._base, self._stop_ids = resolve_model(policy.name), sorted(policy.stop_ids)
        self._adapters_served = 0
        self._start(BASE, self._base)

    def _start(self, name: str, model: str) -> None:
        """Start vLLM on a whole model, a folder or hub id.

        Raises RunError where it does not start.
        """
        from vllm import LLM

        self._asleep = False
        self._started = self._holds = name  # the weights it started with, and has now, without an adapter
        self._loaded = ""  # hash of the policy it samples from
        self._adapter: Any = None
        before = _children()
        settings = self._settings
        options = {
            "model": model,
            "dtype": "float32" if self._on_cpu else "bfloat16",
            "max_model_len": min(settings.max_context or self._context, self._context),
            "max_num_seqs": settings.max_batch,
            "generation_config": "vllm",
            "logprobs_mode": "processed_logprobs",  # at the temperature used
            "worker_extension_cls": "fst_cli.engines.vllm_worker.SeededWorker",
            "enforce_eager": self._on_cpu,
            "tensor_parallel_size": settings.tensor_parallel,
            "disable_log_stats": True,
        }
        if not self._on_cpu:
            options |= {"gpu_memory_utilization": settings.gpu_memory_utilization, "enable_sleep_mode": True}
        if self.adapters == "lora":
            options |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": settings.max_lora_rank}
        say(
            f"starting vLLM ({'CPU' if self._on_cpu else 'GPU'}): a seed per {self.seeds}, adapters "
            + ("served as they are" if self.adapters == "lora" else "merged and reloaded")
        )
        try:
            self._llm = LLM(**options)
        except Exception as error:
            _end(before)
            raise RunError(
                f"vLLM does not start: {str(error).strip().splitlines()[-1]}",
                hint="its own log is above; VLLM_LOGGING_LEVEL=INFO shows more",
            ) from None
        self._processes = [process for process in _children() if process not in before]

    def load(self, policy: Policy) -> None:
        """Sample from these weights from now on: an adapter beside the base model, or other weights in its place."""
        if policy.hash == self._loaded:
            return
        self._wake()
        self._adapter, self._loaded = None, ""
        if policy.weights is None:
            self._hold(BASE, self._base)
        elif not policy.is_adapter:
            self._hold(policy.hash, str(policy.weights.resolve()))
        elif self.adapters == "lora":
            from vllm.lora.request import LoRARequest

            self._hold(BASE, self._base)
            self._adapters_served += 1  # an id is never used twice: vLLM caches by it
            folder = str(policy.weights.resolve())
            self._adapter = LoRARequest(f"fst-{policy.hash}", self._adapters_served, folder)
        else:
            with tempfile.TemporaryDirectory() as scratch:
                save_merged(policy, Path(scratch))
                self._hold(policy.hash, scratch, merged=True)
        self._llm.reset_prefix_cache()
        self._loaded = policy.hash

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, advance: Callable[[int], None] | None = None
    ) -> list[Completion]:
        """Sample one completion a request."""
        if not requests:
            return []
        self._wake()
        if self.seeds == "engine":
            self._llm.collective_rpc("fst_seed", args=(derive(*(request.seed for request in requests)),))
        done = self._llm.generate(
            [{"prompt_token_ids": request.prompt_ids} for request in requests],
            [self._parameters(request, sampling) for request in requests],
            lora_request=self._adapter,
            use_tqdm=_bar(advance) if advance else False,
        )
        return [_completion(one.outputs[0]) for one in done]

    def sleep(self) -> None:
        """Give the GPU's memory to the trainer; the weights wait in the machine's memory."""
        if not self._on_cpu and not self._asleep:
            self._llm.sleep(level=1)
            self._asleep = True

    def close(self) -> None:
        """End vLLM and every process it started."""
        del self._llm
        gc.collect()
        _end([], self._processes)

    def _wake(self) -> None:
        if self._asleep:
            self._llm.wake_up()
            self._asleep = False

    def _hold(self, name: str, model: str, merged: bool = False) -> None:
        """Put a whole model into the engine; `merged`: its output layer is the base model's.

        On a CPU vLLM packs a copy of a tied output layer that reloading leaves as it was: there, only a new start
        changes it.
        """
        if self._holds == name:
            return
        same_output = self._started == BASE and (merged or name == BASE)
        if self._on_cpu and not same_output:
            self.close()
            self._start(name, model)
        else:
            self._llm.collective_rpc("reload_weights", kwargs={"weights_path": model})
            self._holds = name

    def _parameters(self, request: Request, sampling: Sampling) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            max_tokens=request.limit(sampling),
            min_tokens=0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            stop_token_ids=self._stop_ids,
            ignore_eos=False,
            seed=request.seed if self.seeds == "request" else None,
            logprobs=0,  # of the token that was sampled
            detokenize=False,
        )


def _environment() -> None:
    """vLLM reads its settings from the environment; what the user set stays."""
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # standard output is for data
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", cores)  # its own choice leaves one core out
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")


def _bar(advance: Callable[[int], None]) -> Any:
    """A progress bar, as vLLM takes it, that only tells how many have finished."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options, file=io.StringIO())

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            return super().update(n)

    return Bar


def _completion(output: Any) -> Completion:
    ids = list(output.token_ids)
    logprobs = [chosen[id_].logprob for id_, chosen in zip(ids, output.logprobs, strict=True)]
    reason: FinishReason = "stop" if output.finish_reason == "stop" else "length"
    return Completion(ids, np.asarray(logprobs, dtype=np.float32), reason)


def _children() -> list[Any]:
    import psutil

    # multiprocessing's resource tracker is this process's own, whoever started it.
    found = psutil.Process().children(recursive=True)
    return [process for process in found if not _is_tracker(process)]


def _is_tracker(process: Any) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        return any("resource_tracker" in word for word in process.cmdline())
    return False


def _end(before: list[Any], processes: list[Any] | None = None) -> None:
    """Terminate processes, by default all children but those of before; kill what does not end in five seconds."""
    import psutil

    ours = [process for process in processes or _children() if process not in before]
    for process in ours:
        if process.is_running():
            process.terminate()
    for process in psutil.wait_procs(ours, timeout=5)[1]:
        process.kill()
