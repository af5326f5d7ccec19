"""The options of the engine, the same for every command that samples."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

# Name, type, default and help; the names are the fields of EngineSettings, but for the first.
_OPTIONS: dict[str, tuple[Any, Any, str]] = {
    "engine": (str, "transformers", "transformers (comes along), vllm (in process), or openai (servers)."),
    "max_batch": (int, 128, "Sequences sampled at once."),
    "probe": (int, 4, "Samples whose log-probabilities the trainer's model checks; 0 is none."),
    "mismatch_limit": (float, 0.1, "Fail above this KL between engine and trainer, nats per token."),
    "seeds": (str, "auto", "vllm, openai: a seed per request, or of the engine, per call; auto."),
    "max_context": (int, 0, "vllm: longest prompt plus completion; 0 is the model's."),
    "gpu_memory_utilization": (float, 0.5, "vllm: share of the GPU's memory."),
    "tensor_parallel": (int, 1, "vllm: GPUs that share the model."),
    "adapters": (str, "auto", "vllm: serve adapters (lora), or reload merged weights (merge); auto."),
    "max_lora_rank": (int, 16, "vllm: largest rank of an adapter that is served."),
    "base_url": (str, "", "openai: base URL of each server, comma separated; the key is OPENAI_API_KEY."),
    "served_model": (str, "", "openai: the base model's name there; by default the first."),
    "timeout": (float, 600.0, "openai: seconds that a request may take."),
    "logprobs": (str, "require", "openai: require them of the server, recompute them here, or none."),
}


def with_engine(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the engine's options; it gets its argument `engines`, an Engines open until it returns."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        from fst_cli.engines.registry import Engines
        from fst_cli.engines.settings import ENGINES, EngineSettings
        from fst_cli.stages.inputs import from_options, one_of

        chosen = {name: given.pop(name) for name in _OPTIONS}
        chosen["name"] = one_of("--engine", chosen.pop("engine"), list(ENGINES))
        with Engines(from_options(EngineSettings, **chosen)) as engines:
            command(**given, engines=engines)

    own = [p for p in inspect.signature(command).parameters.values() if p.name != "engines"]
    ours = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, typer.Option(help=help_)]
        )
        for name, (kind, default, help_) in _OPTIONS.items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + ours
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped
