"""Settings of one update, checked: what `fst train-step` takes as options and config.toml keeps under [slow]."""

from typing import Any, Literal

from pydantic import Field, model_validator

from fst_cli.data.records import Record
from fst_cli.slow.advantages import AdvantageNorm, Baseline
from fst_cli.slow.losses import LOSSES, Aggregation, KlEstimator

LossName = Literal["cispo", "grpo", "dapo", "dr-grpo", "gspo", "reinforce", "distill"]


class TrainSettings(Record):
    """Settings of one update. What is not given of clip, aggregation, norm and tis is the loss's own."""

    method: Literal["lora", "full"] = "full"
    lora_rank: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-6, gt=0)
    warmup_steps: int = Field(default=10, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    loss: LossName = "cispo"
    clip_interval: tuple[float, float] | None = Field(default=(0.0, 4.0), description="of the ratio, ends as they are")
    aggregation: Aggregation = "problem"
    baseline: Baseline = "problem"
    advantage_norm: AdvantageNorm = "group-std"
    tis: float = Field(default=0.0, ge=0, description="cap of the truncated importance weight; 0 = none")
    zero_variance: Literal["keep", "drop"] = "keep"
    kl_coefficient: float = Field(default=1e-3, ge=0, description="of the penalty for leaving the base model")
    kl_estimator: KlEstimator = "k3"
    kl_in: Literal["loss", "reward"] = "loss"
    micro_tokens: int = Field(default=0, ge=0, description="tokens of a micro-batch; 0 = by the machine's memory")
    gradient_checkpointing: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = Field(default="auto", description="to compute in")
    float32_logits: bool = Field(default=False, description="output layer in float32 (ScaleRL)")

    @model_validator(mode="before")
    @classmethod
    def _loss_defaults(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = {key: value for key, value in values.items() if value is not None}
        name = given.get("loss", "cispo")
        if name == "distill":
            return {"clip_interval": None, "kl_coefficient": 0.0, **given}
        return {**LOSSES[name].defaults(), **given} if isinstance(name, str) and name in LOSSES else given

    @model_validator(mode="after")
    def _fits(self) -> "TrainSettings":
        if self.clip_interval and not 0 <= self.clip_interval[0] <= self.clip_interval[1]:
            raise ValueError(f"clip_interval {list(self.clip_interval)} is not an interval of ratios")
        if self.loss == "cispo" and self.tis:
            raise ValueError(
                "tis on top of cispo would weigh every token twice: its clamped ratio to the sampler is the truncated "
                "importance sampling already"
            )
        if self.loss == "reinforce" and self.clip_interval:
            raise ValueError("clip_interval: reinforce has no clip, its importance weight is truncated by tis")
        if self.loss == "distill" and (self.clip_interval or self.tis or self.kl_coefficient):
            raise ValueError("distill is a KL to the teacher: it takes no clip_interval, tis or kl_coefficient")
        return self
