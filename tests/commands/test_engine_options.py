import pytest

from fst_cli.commands.engine_options import _OPTIONS
from fst_cli.engines.settings import EngineSettings


def test_the_options_are_the_settings_with_their_defaults():
    fields = {("engine" if name == "name" else name): field for name, field in EngineSettings.model_fields.items()}
    assert set(_OPTIONS) == set(fields)
    for name, (kind, default, _) in _OPTIONS.items():
        assert default == fields[name].default and isinstance(default, kind), name


@pytest.mark.parametrize("command", ["rollout", "eval", "kl", "evolve-prompts"])
@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--engine", "turbo", "--engine turbo"),
        ("--seeds", "none", "--seeds none"),
        ("--max-batch", "0", "--max-batch 0"),
    ],
)
def test_a_bad_value_is_a_usage_error_that_names_the_option(fst_here, command, option, value, told):
    given = ["--weights", "x"] if command == "kl" else []
    done = fst_here(command, "p.jsonl", "-o", "out.jsonl", *given, option, value)
    assert done.returncode == 2 and f"error: {told}:" in done.stderr
