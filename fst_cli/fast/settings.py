"""Settings of one evolution, checked: what `fst evolve-prompts` takes as options and config.toml keeps under [fast]."""

from typing import Literal

from pydantic import Field, model_validator

from fst_cli.data.records import Record, Url

Recipe = Literal["light", "full"]


class ReflectorSettings(Record):
    """Which reflector, and how far it may go."""

    reflector: str = Field(default="heuristic", description="heuristic | local | openai:MODEL")
    reflector_base_url: Url | None = Field(default=None, description="of an OpenAI-compatible server")
    reflector_timeout: float = Field(default=300.0, gt=0, description="seconds a reply may take")
    reflector_retries: int = Field(default=4, ge=0, description="with growing pauses, before the run fails")
    reflector_tokens: int = Field(default=4096, ge=1, description="longest reply")
    price_input: float = Field(default=0.0, ge=0, description="of a million tokens read, in your currency")
    price_output: float = Field(default=0.0, ge=0, description="of a million tokens written")
    spend_limit: float = Field(default=0.0, ge=0, description="stop reflecting at this cost; 0 = no limit")

    @model_validator(mode="after")
    def _priced(self) -> "ReflectorSettings":
        if self.spend_limit and not (self.price_input or self.price_output):
            raise ValueError("spend_limit needs price_input and price_output: without them every call costs nothing")
        return self


class EvolveSettings(Record):
    """Settings of one evolution; `budget` counts metric calls, one a (prompt, problem) sample."""

    k: int = Field(default=4, ge=1, description="size of the population")
    budget: int = Field(default=960, ge=1, description="metric calls a cycle")
    anchor: int = Field(default=192, ge=1, description="anchor problems, the first of the cycle's")
    minibatch: int = Field(default=3, ge=1, description="problems a proposal reflects on")
    recipe: Recipe = Field(default="light", description="light: incremental edits; full: one prompt, free rewrites")
    evolve: Literal["instruction", "examples", "both"] = "both"
    max_examples: int = Field(default=2, ge=0)
    max_instruction_tokens: int = Field(default=2048, ge=1)
    acceptance: Literal["strict", "ties", "ties-while-zero"] = Field(
        default="ties-while-zero", description="whether a child as good as its parent on the minibatch goes on"
    )
    candidate_selection: Literal["pareto", "current-best", "epsilon-greedy", "top-k-pareto"] = "pareto"
    proposals: int = Field(default=1, ge=1, description="made side by side, each from a parent of its own")
    merge: bool = Field(default=False, description="gepa's merge of two descendants of one prompt")
    carried_scores: Literal["rescore", "stale"] = Field(
        default="rescore", description="stale: keep the scores that carried prompts bring for these problems"
    )
    cache: bool = Field(default=False, description="score a prompt on a problem once, not anew each time")
    rescoring_in_budget: bool = Field(default=False, description="count re-scoring in the budget")

    @model_validator(mode="after")
    def _one_prompt(self) -> "EvolveSettings":
        if self.recipe == "full" and self.k != 1:
            raise ValueError(f"recipe full evolves one prompt, and k is {self.k}: set k to 1")
        return self

    @property
    def most_per_round(self) -> int:
        """Metric calls of a round in which every proposal is accepted."""
        return self.proposals * (2 * self.minibatch + self.anchor)
