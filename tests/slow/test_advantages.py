import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fst_cli.data.errors import UsageError
from fst_cli.slow.advantages import EPSILON, advantages

rewards_of_two_groups = st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=4, max_size=12).map(
    lambda rewards: np.array(rewards[: len(rewards) // 2 * 2])
)


@given(rewards_of_two_groups)
def test_by_group_they_are_centred_and_scaled_by_the_population_std(rewards):
    groups = np.arange(len(rewards)) % 2
    found, bare = advantages(rewards, groups), advantages(rewards, groups, "none")
    for group in (0, 1):
        r = rewards[groups == group]
        std = np.sqrt(np.mean((r - r.mean()) ** 2))
        np.testing.assert_allclose(found[groups == group], (r - r.mean()) / (std + EPSILON))
        np.testing.assert_allclose(bare[groups == group], r - r.mean())


@given(rewards_of_two_groups)
def test_by_batch_one_std_scales_all_groups(rewards):
    groups = np.arange(len(rewards)) % 2
    centred = advantages(rewards, groups, "none")
    np.testing.assert_allclose(
        advantages(rewards, groups, "batch-std"), centred / (np.sqrt(np.mean(centred**2)) + EPSILON)
    )


@given(rewards_of_two_groups)
def test_leaving_one_out_compares_each_with_the_mean_of_the_others(rewards):
    groups = np.arange(len(rewards)) % 2
    found = advantages(rewards, groups, "none", "leave-one-out")
    for i, reward in enumerate(rewards):
        others = [rewards[j] for j in range(len(rewards)) if groups[j] == groups[i] and j != i]
        assert found[i] == pytest.approx(reward - np.mean(others))


def test_the_prompt_baseline_hides_that_one_prompt_is_better_and_the_problem_baseline_shows_it():
    rewards, groups, prompts = np.array([1.0, 1.0, 0.0, 0.0]), np.zeros(4, int), ["good", "good", "bad", "bad"]
    assert advantages(rewards, groups).tolist() == pytest.approx([1, 1, -1, -1], abs=1e-5)
    assert not advantages(rewards, groups, baseline="prompt", prompt_N=prompts).any()
    mixed = advantages(np.array([1.0, 0.0, 0.0, 0.0]), groups, "none", "prompt", prompts)
    assert mixed.tolist() == [0.5, -0.5, 0, 0]


def test_a_prompt_with_one_rollout_of_a_problem_has_no_baseline():
    with pytest.raises(UsageError, match="two rollouts"):
        advantages(np.array([1.0, 0.0]), np.zeros(2, int), baseline="prompt", prompt_N=["a", "b"])


@pytest.mark.parametrize("norm", ["group-std", "batch-std", "none"])
@pytest.mark.parametrize("baseline", ["problem", "leave-one-out"])
def test_a_group_of_equal_rewards_has_no_advantage(norm, baseline):
    assert not advantages(np.array([0.1, 0.1, 0.1, 0, 0, 0]), np.array([0, 0, 0, 1, 1, 1]), norm, baseline).any()
