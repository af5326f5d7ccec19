import pytest
from pydantic import ValidationError

from fst_cli.slow.settings import TrainSettings


@pytest.mark.parametrize(
    ("loss", "clip", "aggregation", "norm", "tis"),
    [
        ("cispo", (0.0, 4.0), "problem", "group-std", 0.0),
        ("grpo", (0.8, 1.2), "sequence", "group-std", 0.0),
        ("dapo", (0.8, 1.28), "token", "group-std", 0.0),
        ("dr-grpo", (0.8, 1.2), "constant", "none", 0.0),
        ("gspo", (0.9997, 1.0004), "sequence", "group-std", 0.0),
        ("reinforce", None, "problem", "group-std", 2.0),
        ("distill", None, "problem", "group-std", 0.0),
    ],
)
def test_a_loss_brings_the_settings_it_was_published_with(loss, clip, aggregation, norm, tis):
    made = TrainSettings(loss=loss)
    assert made.clip_interval == pytest.approx(clip)
    assert (made.aggregation, made.advantage_norm, made.tis) == (aggregation, norm, tis)


def test_what_is_given_wins_over_the_losss_own():
    made = TrainSettings(loss="dr-grpo", clip_interval=(0.5, 2.0), aggregation="token", advantage_norm="batch-std")
    assert (made.clip_interval, made.aggregation, made.advantage_norm) == ((0.5, 2.0), "token", "batch-std")


@pytest.mark.parametrize("loss", ["cispo", "grpo", "dapo", "dr-grpo", "gspo", "reinforce", "distill"])
def test_saved_settings_come_back_the_same(loss):
    made = TrainSettings(loss=loss)
    assert TrainSettings(**made.model_dump(exclude_none=True)) == made


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tis": 2.0}, "truncated importance sampling already"),
        ({"loss": "reinforce", "clip_interval": (0, 4)}, "has no clip"),
        ({"loss": "distill", "kl_coefficient": 0.1}, "takes no"),
        ({"clip_interval": (2.0, 1.0)}, "not an interval"),
        ({"clip_interval": (-1.0, 1.0)}, "not an interval"),
        ({"loss": "ppo"}, "'gspo'"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"micro_tokens": -1}, "greater than or equal to 0"),
        ({"rank": 4}, "not permitted"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_reason(given, said):
    with pytest.raises(ValidationError, match=said):
        TrainSettings(**given)
