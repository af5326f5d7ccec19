"""A policy as one plain model on disk, for engines that read no adapters."""

from pathlib import Path

from fst_cli.policy.model import Policy, load_policy


def save_merged(policy: Policy, folder: Path) -> None:
    """Write base + adapter as a whole model, from a copy: the policy itself is never merged (PITFALLS 13)."""
    copy = load_policy(policy.name, policy.weights).model
    copy.merge_and_unload().save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
