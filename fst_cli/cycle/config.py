"""The configuration of a run: complete, checked, and saved as config.toml.

Unknown keys are errors that name the nearest known one (PITFALLS 29). Names follow PAPER section 1 and 2.
"""

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from fst_cli.data.errors import DataError, bad_settings
from fst_cli.data.files import atomic_file
from fst_cli.data.records import Record, Sampling
from fst_cli.engines.settings import EngineSettings
from fst_cli.fast.settings import EvolveSettings, ReflectorSettings
from fst_cli.slow.settings import TrainSettings
from fst_cli.stages.generate import set_dotted


class FastConfig(EvolveSettings, ReflectorSettings):
    """Φ: the evolution of the prompts."""

    enabled: bool = True
    reuse_rollouts: bool = Field(default=False, description="RL claims matching rollouts of the evolution")


class SlowConfig(TrainSettings):
    """θ: the RL steps."""

    enabled: bool = True
    group_size: int = Field(default=8, ge=2, description="G, rollouts a problem")


class EvalConfig(Record):
    """Measurements on held-out problems."""

    problems: int = Field(default=200, ge=1)
    samples: int = Field(default=4, ge=1)
    temperature: float = Field(default=0.6, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    every: int = Field(
        default=50, ge=0, description="updates between evaluations of weights and lead prompt; 0 = only at the end"
    )
    kl_problems: int = Field(default=64, ge=1)


class RunConfig(Record):
    """Everything that decides a run."""

    task: str = Field(description="its name; several, comma separated, are a continual run")
    switch_every: int = Field(default=0, ge=0, description="updates before a continual run goes to its next task")
    model: str
    init_from: str | None = Field(default=None, description="folder of the trained weights to start from")
    recipe: str
    task_options: dict[str, Any] = Field(default_factory=dict, description="in a continual run, by task")
    seed_prompt: str | None = Field(default=None, description="the instruction of Φ₀ in place of the task's own")
    seed: int = Field(default=0, ge=0)
    cycles: int = Field(default=1, ge=1)
    steps_per_cycle: int = Field(default=6, ge=1, description="T")
    problems_per_step: int = Field(default=32, ge=1)
    temperature: float = Field(default=1.0, gt=0, description="of training rollouts and prompt scoring")
    max_tokens: int = Field(default=4096, ge=1)
    keep_weights: Literal["all", "evaluated", "last"] = Field(
        default="all", description="of which steps; those of the newest two always are"
    )
    keep_optimizer: Literal["all", "last"] = Field(default="all", description="states; the newest two always are")
    sinks: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        default_factory=list, description="where metrics.jsonl's lines go besides"
    )
    engine: EngineSettings = EngineSettings()
    fast: FastConfig = FastConfig()
    slow: SlowConfig = SlowConfig()
    eval: EvalConfig = EvalConfig()

    @property
    def sampling(self) -> Sampling:
        """Of training rollouts and prompt scoring."""
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens)

    @property
    def eval_sampling(self) -> Sampling:
        """Of evaluations."""
        return Sampling(temperature=self.eval.temperature, top_p=self.eval.top_p, max_tokens=self.max_tokens)

    @property
    def engine_settings(self) -> EngineSettings:
        """The engine, ready for the weights that this run trains."""
        changes: dict[str, Any] = {"max_lora_rank": max(self.engine.max_lora_rank, self.slow.lora_rank)}
        if self.slow.method == "full" and self.engine.adapters == "auto":
            changes["adapters"] = "merge"
        return self.engine.model_copy(update=changes)

    @property
    def problems_per_cycle(self) -> int:
        """Size of a lookahead batch L_c."""
        return self.steps_per_cycle * self.problems_per_step

    @property
    def tasks(self) -> list[str]:
        """The task, or those of a continual run in their order."""
        return [name.strip() for name in self.task.split(",")]

    def task_of(self, cycle: int) -> str:
        """The task that a cycle learns; after the last one a continual run begins again."""
        stage = cycle * self.steps_per_cycle // self.switch_every if self.switch_every else 0
        return self.tasks[stage % len(self.tasks)]

    def cycles_of(self, task: str) -> list[int]:
        """The cycles that learn a task."""
        return [cycle for cycle in range(self.cycles) if self.task_of(cycle) == task]

    def options_of(self, task: str) -> dict[str, Any]:
        """The options of one task."""
        return self.task_options.get(task, {}) if len(self.tasks) > 1 else self.task_options

    def label_of(self, what: str, task: str) -> str:
        """What is done, with the task in a continual run."""
        return f"{what} {task}" if len(self.tasks) > 1 else what

    def file_of(self, stem: str, task: str) -> str:
        """The name of a file that a continual run has once a task, as `eval-math.jsonl`."""
        if len(self.tasks) == 1:
            return f"{stem}.jsonl"
        return f"{stem}-{re.sub(r'[^A-Za-z0-9_-]+', '-', task)}.jsonl"

    @model_validator(mode="after")
    def _continual(self) -> "RunConfig":
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"task={self.task} names a task twice")
        if len(self.tasks) > 1 and not self.switch_every:
            raise ValueError("switch_every is missing: the updates before the next task's turn")
        if self.switch_every and len(self.tasks) == 1:
            raise ValueError("switch_every needs several tasks, comma separated")
        if self.switch_every % self.steps_per_cycle:
            raise ValueError(
                f"switch_every={self.switch_every} is not a multiple of steps_per_cycle={self.steps_per_cycle}"
            )
        if len(self.tasks) > 1 and (unknown := sorted(set(self.task_options) - set(self.tasks))):
            raise ValueError(f"task_options.{unknown[0]}: in a continual run options are by task")
        return self

    @model_validator(mode="after")
    def _fits(self) -> "RunConfig":
        if not (self.fast.enabled or self.slow.enabled):
            raise ValueError("with neither fast nor slow weights there is nothing to do")
        if self.slow.enabled and self.engine.logprobs == "none":
            raise ValueError("engine.logprobs=none leaves nothing to train on")
        if self.fast.enabled and self.slow.enabled and self.slow.group_size % self.fast.k:
            raise ValueError(f"fast.k={self.fast.k} does not divide slow.group_size={self.slow.group_size}")
        if self.fast.enabled and self.fast.anchor > self.problems_per_cycle:
            raise ValueError(
                f"fast.anchor={self.fast.anchor} is more than the {self.problems_per_cycle} problems of a cycle "
                "(steps_per_cycle x problems_per_step)"
            )
        return self


def make_config(values: dict[str, Any], overrides: dict[str, Any] | None = None) -> RunConfig:
    """A checked configuration from nested values and dotted overrides (`slow.learning_rate`).

    Raises UsageError for an unknown key or a bad value.
    """
    merged = _copy(values)
    for dotted, value in (overrides or {}).items():
        set_dotted(merged, dotted, value)
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        raise bad_settings(error, known_keys()) from None


def save_config(config: RunConfig, path: Path) -> None:
    """Write config.toml, complete."""
    import tomli_w

    with atomic_file(path) as temporary:
        temporary.write_text(tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)))


def load_config(path: Path) -> RunConfig:
    """Read a config.toml.

    Raises DataError where it is missing or not TOML, UsageError where it holds an unknown key.
    """
    return make_config(read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises DataError where it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not valid TOML: {error}") from None


def known_keys() -> list[str]:
    """Every key, dotted."""
    keys = []
    for name, field in RunConfig.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Record):
            keys += [f"{name}.{key}" for key in inner.model_fields]
        else:
            keys.append(name)
    return keys


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}
