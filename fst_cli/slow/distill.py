"""FST-distill: move what the prompts say into the weights (PAPER section 6).

L = Σ_t KL(π_θ(·|x, y_<t) ‖ π_θ̄(·|x, φ, y_<t)): the student sees the problem alone and the completions are its own
(on-policy); the teacher is the frozen model under φ. Full vocabulary, in chunks.

[read] θ̄ is θ without a gradient unless other weights are given. Sample j of a problem has prompt j mod K as its
teacher, so that the teacher is the uniform mixture that FST rolls out under. Tokens are averaged as in RL.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fst_cli.data.errors import DataError
from fst_cli.data.records import Problem, Prompt
from fst_cli.policy.chat import render
from fst_cli.policy.logprobs import TokenSequence, causal, chunks, completion_hidden, logits, within
from fst_cli.policy.model import Policy
from fst_cli.slow.groups import Batch
from fst_cli.slow.losses import token_weights
from fst_cli.slow.objective import Part, array, per_token
from fst_cli.slow.settings import TrainSettings


def teacher_sequences(
    policy: Policy, batch: Batch, problems: Sequence[Problem], prompts: Sequence[Prompt]
) -> list[TokenSequence]:
    """Each rollout's completion after its problem under its teacher's prompt.

    Raises DataError where a rollout's problem is missing.
    """
    by_id = {problem.id: problem for problem in problems}
    found = []
    for rollout, tokens in zip(batch.rollouts, batch.tokens, strict=True):
        if rollout.problem_id not in by_id:
            raise DataError(f"rollout {rollout.id}: its problem {rollout.problem_id} is not among the problems given")
        prompt = prompts[rollout.sample % len(prompts)]
        room = policy.context - len(tokens.completion_ids)
        ids = render(policy.tokenizer, prompt, by_id[rollout.problem_id], room)
        found.append(TokenSequence(ids, tokens.completion_ids, tokens.mask))
    return found


class Distillation:
    """Objective over all rollouts of a batch. `teacher` None is the policy itself, without a gradient."""

    def __init__(
        self,
        policy: Policy,
        batch: Batch,
        settings: TrainSettings,
        under_prompts: list[TokenSequence],
        teacher: Policy | None,
    ) -> None:
        self.policy, self.teacher, self.temperature = policy, teacher, batch.temperature
        self.sequences = batch.sequences
        self.under_prompts = under_prompts
        lengths = [len(sequence.target_ids) for sequence in self.sequences]
        sampling = batch.rollouts[0].sampling
        self.weights = token_weights(lengths, batch.group_N.tolist(), settings.aggregation, sampling.max_tokens)

    def part(self, rows: list[int]) -> Part:
        """The reverse KL of these rollouts' tokens."""
        import torch

        student, teacher = self.policy.model, (self.teacher or self.policy).model
        sequences = [self.sequences[row] for row in rows]
        with torch.no_grad():
            under = [self.under_prompts[row] for row in rows]
            teacher_ND = within(teacher, lambda: completion_hidden(teacher, under))
        kl_N = within(student, lambda: self._kl(student, completion_hidden(student, sequences), teacher, teacher_ND))
        weights_N = per_token([self.weights[row] for row in rows], sequences, kl_N)
        return Part((weights_N * kl_N).sum(), tokens={"kl": array(kl_N)})

    def figures(self, sums: dict[str, float], tokens: dict[str, np.ndarray]) -> dict[str, Any]:
        """The mean KL of a token, nats."""
        return {"kl_to_teacher": float(tokens["kl"].mean())}

    def _kl(self, student: Any, student_ND: Any, teacher: Any, teacher_ND: Any) -> Any:
        """KL(student ‖ teacher) over the whole vocabulary at each position, [N]."""
        import torch
        from torch.utils.checkpoint import checkpoint

        def chunk(student_nD: Any, teacher_nD: Any) -> Any:
            logp_nV = torch.log_softmax(logits(student, student_nD) / self.temperature, dim=-1)
            with torch.no_grad():
                logq_nV = torch.log_softmax(logits(teacher, teacher_nD) / self.temperature, dim=-1)
            return (logp_nV.exp() * (logp_nV - logq_nV)).sum(-1)

        parts = [
            checkpoint(chunk, student_ND[rows], teacher_ND[rows], use_reentrant=False)
            for rows in chunks(causal(student).config.vocab_size, len(student_ND))
        ]
        return torch.cat(parts)
