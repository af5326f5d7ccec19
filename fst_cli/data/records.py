"""The records of every JSONL file, one class each; `fst schema NAME` prints their JSON Schema.

Unknown fields are errors: a misspelt field in a hand-edited file must not be dropped silently.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

RewardStatus = Literal["ok", "timeout", "error"]
FinishReason = Literal["stop", "length"]


def _without_credentials(url: str) -> str:
    if any("@" in part.split("://")[-1].split("/")[0] for part in url.split(",")):
        raise ValueError("holds a user or password, which would be saved: keys belong in OPENAI_API_KEY")
    return url


Url = Annotated[str, AfterValidator(_without_credentials)]


class Record(BaseModel):
    """Base of all records: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Message(Record):
    """One chat turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Problem(Record):
    """One problem of a task, as `fst generate` writes it."""

    id: str = Field(description="unique in its file; names the group of its rollouts")
    task: str
    split: Literal["train", "test"]
    messages: list[Message] = Field(
        min_length=1, description="the task's own messages; a prompt's instruction is merged into a system message here"
    )
    answer: str = Field(description="the gold answer; never shown to a reflector for anchor problems")
    meta: dict[str, Any] = Field(default_factory=dict, description="what the grader and the worked solution need")


class Example(Record):
    """A worked example of a prompt: one user and one assistant turn before the problem."""

    question: str
    reply: str
    problem_id: str = Field(description="the train problem it comes from")


class Prompt(Record):
    """A prompt φ, one member of the population Φ: an instruction (system message) and worked examples."""

    id: str = Field(description="hash of instruction and examples")
    instruction: str = ""
    examples: list[Example] = Field(default_factory=list)
    parents: list[str] = Field(default_factory=list, description="ids of the prompts it was edited or crossed from")
    origin: str = Field(default="seed", description="seed | edit | cross | fill | user")
    cycle: int = Field(default=0, description="the cycle it was born in")
    edit: str = Field(default="", description="what was changed, in words")
    scores: dict[str, float] = Field(default_factory=dict, description="reward by anchor problem id")
    mean: float | None = Field(default=None, description="mean of `scores`")
    coverage: int | None = Field(default=None, description="anchor problems on which no prompt of the pool is better")
    rank: int | None = Field(default=None, description="0 = lead prompt")


class Score(Record):
    """What a grader says of one completion."""

    reward: float
    success: bool
    feedback: str = Field(description="what went wrong, in words a reflector can act on")
    failure: str | None = Field(default=None, description="short name of the kind of failure; null on success")
    status: RewardStatus = "ok"


class Sampling(Record):
    """Every sampling field, always explicit (nothing is left to a model's generation_config)."""

    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, description="0 = off")
    min_p: float = Field(default=0.0, ge=0, lt=1)
    max_tokens: int = Field(default=256, ge=1)

    @property
    def trainable(self) -> bool:
        """Whether the recorded log-probabilities are those of the policy at this temperature (PITFALLS 1)."""
        return self.temperature > 0 and self.top_p == 1 and self.top_k == 0 and self.min_p == 0


class Rollout(Record):
    """One completion and its score. Token ids and log-probabilities are row `row` of the safetensors file beside."""

    id: str
    group_id: str = Field(description="the group of the advantage: the problem, across prompts")
    problem_id: str
    prompt_id: str
    sample: int = Field(description="index among the samples of this problem and prompt")
    seed: int
    text: str = Field(description="the completion; of several turns the transcript, tool replies set apart")
    turns: list[Message] = Field(
        default_factory=list, description="where there were several: assistant = the model, user = the tool"
    )
    finish_reason: FinishReason = Field(description="of the last turn; length too where a tool's reply did not fit")
    prompt_tokens: int
    completion_tokens: int = Field(description="all tokens after the prompt, those of tool replies included")
    score: Score
    policy: str = Field(description="hash of the weights that sampled it")
    template: str = Field(description="hash of the chat template that rendered it")
    sampling: Sampling
    reused: bool = Field(default=False, description="kept from an evolution's scoring instead of sampled anew")
    row: int | None = Field(default=None, description="row in the safetensors file; null where arrays were not kept")


class Evaluation(Record):
    """All samples of one problem under one prompt, or a mixture, and one set of weights."""

    problem_id: str
    prompt_id: str = Field(description="of a mixture, all ids joined by +")
    weights: str = Field(description="the cell: label of the weights and, where there are several, of the prompt")
    policy: str = Field(description="hash of the weights")
    rewards: list[float]
    successes: list[bool]
    truncated: int = Field(description="samples that hit the token limit")
    sampling: Sampling


class Divergence(Record):
    """Token-level KL(π_train ‖ π_base) on one fresh sample of π_train."""

    problem_id: str
    prompt_id: str
    policy: str
    tokens: int
    kl: float = Field(description="mean over tokens of the exact KL over the whole vocabulary, nats")
    reverse_kl: float = Field(description="mean over the same tokens of the exact KL(π_base ‖ π_train), nats")
    k1: float = Field(description="mean over tokens of log π_train - log π_base on the sampled tokens")
    k3: float = Field(description="mean over tokens of exp(-k1_t) - 1 + k1_t")


class TokenDivergence(Record):
    """The divergence at one sampled token."""

    problem_id: str
    prompt_id: str
    sample: int
    place: int = Field(description="of the token among those of the completion")
    token_id: int
    token: str
    kl: float = Field(description="exact KL(π_train ‖ π_base) over the vocabulary at this place, nats")
    k1: float = Field(description="log π_train - log π_base of the token")
    reverse_kl: float = Field(description="exact KL(π_base ‖ π_train) at this place, nats")


class Proposal(Record):
    """One reflection: what was proposed from which parent, and what became of it."""

    index: int
    parents: list[str]
    reflector: str
    edit: str
    instruction: str | None = Field(description="null where the reply could not be parsed")
    examples: list[Example] = Field(default_factory=list)
    outcome: Literal["accepted", "rejected", "duplicate", "failed"] = Field(
        description="failed: no usable prompt; duplicate: known already; rejected: not better on the minibatch"
    )
    parent_reward: float | None = Field(default=None, description="sum over the minibatch")
    child_reward: float | None = None
    transcript: str = Field(default="", description="the reflector's whole input and output, where it has one")
    input_tokens: int = Field(default=0, description="read by the reflector")
    output_tokens: int = Field(default=0, description="written by the reflector")
    cost: float = Field(default=0.0, description="of the reflection, at the given prices")


SCHEMAS: dict[str, type[Record]] = {
    "problem": Problem,
    "prompt": Prompt,
    "rollout": Rollout,
    "evaluation": Evaluation,
    "divergence": Divergence,
    "token-divergence": TokenDivergence,
    "proposal": Proposal,
}
