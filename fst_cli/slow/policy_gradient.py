"""The RL objective: advantages of the rollouts times a policy-gradient loss, with a KL penalty to the base model.

The trainer never tokenises: it takes the token ids and the sampler's log-probabilities that the rollout stage
recorded.
"""

from typing import Any

import numpy as np

from fst_cli.policy.logprobs import TokenSequence, completion_logprobs, micro_batches, within
from fst_cli.policy.mismatch import mismatch_kl, ratio_quantiles
from fst_cli.policy.model import Policy
from fst_cli.policy.reference import reference_model
from fst_cli.slow.advantages import advantages, is_flat
from fst_cli.slow.distributed import shard
from fst_cli.slow.groups import Batch
from fst_cli.slow.losses import KL_ESTIMATORS, LOSSES, Tokens, token_weights, truncated_importance
from fst_cli.slow.objective import Part, array, per_token
from fst_cli.slow.settings import TrainSettings
from fst_cli.slow.update import Compute

# Nats per token; quantiles 0, 1, 50, 99, 100 % of trainer to sampler; KL(sampler ‖ trainer) on its tokens, k3 form;
# shares of tokens outside the clip interval, and with an importance weight cut at `tis`.
_TOKEN_FIGURES = ("entropy", "ratio_quantiles", "mismatch_kl", "clipped_share", "truncated_share")


class PolicyGradient:
    """Objective over the rollouts of a batch; with zero variance dropped, over those of mixed groups."""

    def __init__(self, policy: Policy, batch: Batch, settings: TrainSettings, compute: Compute) -> None:
        self.policy, self.settings, self.world = policy, settings, compute.world
        self.temperature = batch.temperature
        self.kl_of_rewards: float | None = None  # mean per token, where the penalty goes into the rewards
        keep_N = np.ones(len(batch.rollouts), dtype=bool)
        if settings.zero_variance == "drop":
            keep_N = np.array([not is_flat(batch.rewards_N[batch.group_N == group]) for group in batch.group_N])
        self.rows = np.flatnonzero(keep_N).tolist()
        sequences = batch.sequences
        self.sequences = [sequences[row] for row in self.rows]
        self.behaviour = [batch.tokens[row].sampled_logprobs for row in self.rows]
        rewards_N = batch.rewards_N
        if settings.kl_coefficient and settings.kl_in == "reward" and self.rows:
            rewards_N = rewards_N.copy()
            rewards_N[self.rows] -= settings.kl_coefficient * self._kl_of_rollouts(compute)
        prompts = [rollout.prompt_id for rollout in batch.rollouts]
        found_N = advantages(rewards_N, batch.group_N, settings.advantage_norm, settings.baseline, prompts)
        self.advantages = [float(found_N[row]) for row in self.rows]
        self.weights = token_weights(
            [len(sequence.target_ids) for sequence in self.sequences],
            [int(batch.group_N[row]) for row in self.rows],
            settings.aggregation,
            batch.rollouts[0].sampling.max_tokens,
        )

    def part(self, rows: list[int]) -> Part:
        """Loss, penalty, and what is reported of these rollouts' tokens."""
        import torch

        settings, sequences = self.settings, [self.sequences[row] for row in rows]
        penalised = settings.kl_coefficient > 0 and settings.kl_in == "loss"
        reference_N = self._reference(sequences) if penalised else None
        logp_N, entropy_N = self._logprobs(self.policy.model, sequences)
        behaviour_N = torch.as_tensor(np.concatenate([self.behaviour[row] for row in rows])).to(logp_N)
        weights_N, advantages_N = (
            per_token([values[row] for row in rows], sequences, logp_N) for values in (self.weights, self.advantages)
        )
        rollout_N = per_token(list(range(len(rows))), sequences, logp_N).long()
        old_N = logp_N.detach() if settings.tis else behaviour_N
        loss, values = LOSSES[settings.loss], Tokens(logp_N, old_N, advantages_N, rollout_N)
        loss_N = loss.function(values, settings.clip_interval)
        tokens = {"difference": logp_N - behaviour_N, "entropy": entropy_N}
        if settings.clip_interval:
            low, high = settings.clip_interval
            ratio_N = loss.ratio(values).detach()
            tokens["clipped"] = (ratio_N < low) | (ratio_N > high)
        if settings.tis:
            weight_N = truncated_importance(logp_N, behaviour_N, settings.tis)
            tokens["truncated"] = weight_N == settings.tis
            loss_N = loss_N * weight_N
        total, sums = (weights_N * loss_N).sum(), {}
        if reference_N is not None:
            kl = (weights_N * KL_ESTIMATORS[settings.kl_estimator](logp_N, reference_N)).sum()
            total, sums["kl"] = total + settings.kl_coefficient * kl, float(kl.detach())
        return Part(total, sums, {name: array(values) for name, values in tokens.items()})

    def figures(self, sums: dict[str, float], tokens: dict[str, np.ndarray]) -> dict[str, Any]:
        """Entropy, the penalty, and how far trainer and sampler are apart: ratio quantiles, share clipped, KL."""
        settings = self.settings
        found: dict[str, Any] = {
            "clip_interval": list(settings.clip_interval) if settings.clip_interval else None,
            "kl_to_base": sums.get("kl", self.kl_of_rewards),
        }
        if not tokens:
            return found | dict.fromkeys(_TOKEN_FIGURES)
        values = (
            float(tokens["entropy"].mean()),
            ratio_quantiles(tokens["difference"]),
            mismatch_kl(tokens["difference"]),
            float(tokens["clipped"].mean()) if "clipped" in tokens else None,
            float(tokens["truncated"].mean()) if "truncated" in tokens else None,
        )
        return found | dict(zip(_TOKEN_FIGURES, values, strict=True))

    def _kl_of_rollouts(self, compute: Compute) -> np.ndarray:
        """Σ_t of the KL estimate of each rollout, from the sampler's log-probabilities; shared by all processes."""
        import torch

        found: list[tuple[int, float]] = []
        batches = micro_batches(self.policy.model, self.sequences, compute.micro_tokens, self.world.size)
        for rows in self.world.share(batches, [0]):
            sequences = [self.sequences[row] for row in rows]
            with compute.autocast(self.policy.device):
                reference_N = self._reference(sequences).cpu().double()
            behaviour_N = torch.as_tensor(np.concatenate([self.behaviour[row] for row in rows])).double()
            kl_N = KL_ESTIMATORS[self.settings.kl_estimator](behaviour_N, reference_N)
            parts = kl_N.split([len(sequence.target_ids) for sequence in sequences])
            found += [(row, float(part.sum())) for row, part in zip(rows, parts, strict=True)]
        by_row = dict(self.world.gather(found))
        sums = np.array([by_row[row] for row in range(len(self.sequences))])
        self.kl_of_rewards = float(sums.sum() / sum(len(sequence.target_ids) for sequence in self.sequences))
        return sums

    def _reference(self, sequences: list[TokenSequence]) -> Any:
        import torch

        with reference_model(self.policy) as reference, torch.no_grad():
            shard(reference, self.world)
            return self._logprobs(reference, sequences)[0]

    def _logprobs(self, model: Any, sequences: list[TokenSequence]) -> Any:
        precise = self.settings.float32_logits
        return within(model, lambda: completion_logprobs(model, sequences, self.temperature, precise))
