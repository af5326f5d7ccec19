import pytest

from fst_cli.cycle.config import known_keys, load_config, make_config, save_config
from fst_cli.cycle.recipes import RECIPES, recipe
from fst_cli.data.errors import DataError, UsageError
from fst_cli.tasks.registry import tasks


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("task", sorted(tasks()))
@pytest.mark.parametrize("model", ["mini", "smollm2-135m", "some/other"])
def test_every_recipe_is_a_valid_configuration_that_survives_the_disk(name, task, model, tmp_path):
    config = make_config(recipe(name, task, model))
    save_config(config, tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == config


def test_the_paper_recipe_is_the_papers_table():
    star = make_config(recipe("paper", "stargraph", "x/y"))
    math = make_config(recipe("paper", "math", "x/y"))
    assert (star.fast.k, star.steps_per_cycle, star.fast.anchor, star.fast.budget, star.max_tokens) == (
        8,
        6,
        200,
        960,
        4096,
    )
    assert (math.fast.k, math.steps_per_cycle, math.fast.anchor, math.fast.budget, math.max_tokens) == (
        4,
        6,
        96,
        1500,
        8192,
    )
    assert star.task_options == {"d": 25, "p": 20, "n": 500} and math.slow.advantage_norm == "none"
    for config in (star, math):
        slow = config.slow
        assert (slow.learning_rate, slow.group_size, slow.method, slow.clip_interval) == (1e-6, 8, "full", (0.0, 4.0))
        assert (config.eval.samples, config.eval.temperature, config.eval.top_p) == (4, 0.6, 0.95)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("slow.learning_rat", "slow.learning_rate"), ("fast.budge", "fast.budget"), ("cyles", "cycles")],
)
def test_an_unknown_key_names_the_nearest(key, nearest):
    with pytest.raises(UsageError, match=f"unknown key `{key}`") as caught:
        make_config(recipe("demo", "math", "mini"), {key: 1})
    assert f"`{nearest}`" in caught.value.hint and nearest in known_keys()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"fast.k": 3}, "fast.k=3 does not divide slow.group_size=8"),
        ({"fast.enabled": False, "slow.enabled": False}, "nothing to do"),
        ({"fast.anchor": 1000}, "fast.anchor=1000 is more than"),
        ({"slow.learning_rate": -1}, "slow.learning_rate: input should be greater than 0"),
        ({"cycles": "many"}, "cycles: input should be a valid integer"),
        ({"cycles.x": 1}, "cycles is not a section"),
        ({"engine.base_url": "http://a/v1,https://me:key@b/v1"}, "engine.base_url: holds a user or password"),
        ({"fast.reflector_base_url": "https://key@b/v1"}, "fast.reflector_base_url: holds a user or password"),
    ],
)
def test_settings_that_make_no_sense_are_refused(overrides, said):
    with pytest.raises(UsageError, match=said):
        make_config(recipe("demo", "math", "mini"), overrides)


def test_an_unknown_recipe_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown recipe `papr`"):
        recipe("papr", "math", "mini")


def test_a_broken_configuration_file_is_a_data_error(tmp_path):
    path = tmp_path / "config.toml"
    with pytest.raises(DataError):
        load_config(path)
    path.write_text("task = ")
    with pytest.raises(DataError, match="not valid TOML"):
        load_config(path)
