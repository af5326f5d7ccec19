"""Which engine samples, and how: the engine options of a command and the [engine] section of a run's config.toml."""

from typing import Literal, get_args

from pydantic import Field

from fst_cli.data.records import Record, Url

EngineName = Literal["transformers", "vllm", "openai"]
ENGINES = get_args(EngineName)


class EngineSettings(Record):
    """One engine."""

    name: EngineName = Field(default="transformers", description="the embedded one, vLLM in process, or servers")
    max_batch: int = Field(default=128, ge=1, description="sequences sampled at once")
    probe: int = Field(default=4, ge=0, description="samples that the trainer's model checks")
    mismatch_limit: float = Field(
        default=0.1, gt=0, description="fail above this KL between engine and trainer, nats per token"
    )
    seeds: Literal["auto", "request", "engine"] = Field(
        default="auto", description="vllm, openai: a seed per request, or one per call where the build has no other"
    )
    max_context: int = Field(default=0, ge=0, description="vllm: longest prompt plus completion; 0 = the model's")
    gpu_memory_utilization: float = Field(default=0.5, gt=0, le=1, description="vllm: share of the GPU's memory")
    tensor_parallel: int = Field(default=1, ge=1, description="vllm: GPUs that share the model")
    adapters: Literal["auto", "lora", "merge"] = Field(
        default="auto", description="vllm: serve adapters, or reload merged weights (auto: lora on GPUs, else merge)"
    )
    max_lora_rank: int = Field(default=16, ge=1, description="vllm: largest rank of an adapter that is served")
    base_url: Url = Field(default="", description="openai: base URL of each server, comma separated")
    served_model: str = Field(default="", description="openai: the base model's name there; by default the first")
    timeout: float = Field(default=600.0, gt=0, description="openai: seconds that a request may take")
    logprobs: Literal["require", "recompute", "none"] = Field(
        default="require",
        description="openai: from the server, by the trainer's model, or none (then nothing can be trained on)",
    )
