"""How a configuration comes about: defaults < recipe < a run's saved config.toml < flags, and which of them spoke last.

A recipe is one of ours, or a TOML file of the same keys: a run's config.toml is one, too.
"""

from pathlib import Path
from typing import Any

from fst_cli.cycle.config import RunConfig, load_config, make_config, read_toml
from fst_cli.cycle.plan import planned
from fst_cli.cycle.recipes import recipe
from fst_cli.data.errors import UsageError
from fst_cli.data.stage import is_complete
from fst_cli.policy.names import resolve_model
from fst_cli.stages.generate import check_options

DEFAULT_MODEL = "mini"
_GROWS_ON_RESUME = {"cycles", "sinks"}
Origins = dict[str, str]


def fresh(given: dict[str, Any]) -> tuple[RunConfig, Origins]:
    """The configuration of a new run from dotted flags.

    Raises UsageError where it makes no sense, and DataError where a recipe's file is not TOML.
    """
    name = str(given.get("recipe", "demo"))
    below = read_toml(Path(name)) if name.endswith(".toml") else {}
    task, model = given.get("task", below.get("task")), given.get("model", below.get("model", DEFAULT_MODEL))
    if not task:
        raise UsageError("--task is missing", hint="for example: fst cycle --task math --out runs/first")
    for one in str(task).split(","):
        check_options(one.strip(), {})
    values = below | {"task": task, "model": model, "recipe": name} if below else recipe(name, task, model)
    origins = dict.fromkeys(_flat(values), f"recipe {name}") | dict.fromkeys(given, "flag")
    config = make_config(values, given)
    derived: dict[str, Any] = {}
    if config.init_from:
        derived["init_from"] = str(_starting_weights(Path(config.init_from), config))
    if len(config.tasks) > 1 and "cycles" not in given and "cycles" not in below:
        derived["cycles"] = len(config.tasks) * config.switch_every // config.steps_per_cycle
        origins["cycles"] = "a stage for every task"
    return config.model_copy(update=derived), origins


def resumed(folder: Path, given: dict[str, Any]) -> tuple[RunConfig, Origins]:
    """The configuration that a run was saved with; some of it may grow.

    Raises UsageError where a flag would change what can't change.
    """
    config = load_config(folder / "config.toml")
    changed = sorted(set(given) - _GROWS_ON_RESUME)
    if changed:
        raise UsageError(
            f"--resume replays {folder}/config.toml; {', '.join(changed)} can't change",
            hint="start a new run directory",
        )
    if given.get("cycles", config.cycles) < config.cycles:
        raise UsageError(f"the run has {config.cycles} cycles; --cycles can only grow")
    saved = config.model_dump(mode="json", exclude_none=True)
    return make_config(saved, given), dict.fromkeys(_flat(saved), "saved") | dict.fromkeys(given, "flag")


def origin_lines(config: RunConfig, origins: Origins) -> list[str]:
    """Every key with its value, as config.toml would have it, and where the value comes from."""
    import tomli_w

    lines = []
    for key, value in _flat(config.model_dump(mode="json", exclude_none=True)).items():
        shown = tomli_w.dumps({"x": value}).removeprefix("x = ").strip()
        lines.append(f"{key} = {' '.join(shown.split())}  # {origins.get(key, 'default')}")
    return lines


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _starting_weights(place: Path, config: RunConfig) -> Path:
    """The newest weights of a run, or a weights/ folder itself; absolute.

    Raises UsageError where there are none, or they are of another base model.
    """
    source = place / "config.toml"
    if not source.exists():
        if not (place / "config.json").exists() and not (place / "adapter_config.json").exists():
            raise UsageError(f"{place}: neither a run nor weights", hint="--init-from RUN, or the weights/ of a step")
        return place.resolve()
    other = load_config(source)
    if resolve_model(other.model) != resolve_model(config.model):
        hint = f"give --model {other.model}"
        raise UsageError(f"{place} trained {other.model}, and this run trains {config.model}", hint=hint)
    steps = [stage.output for stage in planned(other, place) if stage.command == "train-step"]
    made = [output.parent / "weights" for output in steps if is_complete(output)]
    if not made:
        raise UsageError(f"{place}: has no trained weights yet")
    return made[-1].resolve()
