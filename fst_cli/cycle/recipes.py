"""Recipes: complete settings by name. `demo` suits a laptop's CPU, `paper` is PAPER's table for the task."""

from typing import Any

from fst_cli.data.errors import UsageError, nearest

RECIPES = ("demo", "paper")

# Φ₀ of a continual run. The paper's is not stated [open]; it says that it names no task.
TASK_AGNOSTIC = (
    "You are a helpful assistant. Read the task carefully, work through it step by step, and give the final answer in "
    "the form that is asked for."
)

# `mini` and other small models on two CPU cores: minutes.
_DEMO: dict[str, Any] = {
    "cycles": 2,
    "steps_per_cycle": 6,
    "problems_per_step": 12,
    "max_tokens": 128,
    "fast": {"k": 4, "budget": 400, "anchor": 32, "minibatch": 6, "max_instruction_tokens": 256},
    "slow": {"method": "lora", "learning_rate": 2e-3, "warmup_steps": 2},
    "eval": {"problems": 100, "samples": 4, "temperature": 1.0, "top_p": 1.0, "every": 6, "kl_problems": 32},
}
_DEMO_TASKS: dict[str, dict[str, Any]] = {
    "math": {"task_options": {"difficulty": 2}},
    "stargraph": {"task_options": {"d": 4, "p": 3, "n": 10}},
    "codeio": {"task_options": {"source": "expressions"}},
}

# Small pretrained models cost a hundred times more a token than `mini`: fewer of everything, and easier sums.
_DEMO_MODELS: dict[str, dict[str, Any]] = {
    "smollm2-135m": {
        "cycles": 1,
        "steps_per_cycle": 2,
        "problems_per_step": 12,
        "max_tokens": 64,
        "fast": {"k": 2, "budget": 160, "anchor": 12, "minibatch": 4, "evolve": "examples"},
        "slow": {"group_size": 4, "learning_rate": 2e-4, "kl_coefficient": 0.0},
        "eval": {"problems": 32, "samples": 1, "every": 0, "kl_problems": 8},
    }
}

_DEMO_MODEL_TASKS: dict[tuple[str, str], dict[str, Any]] = {
    ("smollm2-135m", "math"): {"task_options": {"difficulty": 1}}
}

# PAPER section 3's table; K, T, anchor, calls a cycle, longest response. The rest are RunConfig's defaults. Tasks that
# are not in it run with its CodeIO settings.
_PAPER: dict[str, Any] = {
    "steps_per_cycle": 6,
    "problems_per_step": 32,
    "cycles": 20,
    "max_tokens": 8192,
    "keep_weights": "evaluated",  # a whole model a step fills any disk
    "keep_optimizer": "last",
    "fast": {"k": 8, "anchor": 192, "budget": 960, "max_instruction_tokens": 4096, "max_examples": 0,
             "evolve": "instruction"},
    "slow": {"method": "full", "learning_rate": 1e-6, "group_size": 8},
}  # fmt: skip
_PAPER_MATH: dict[str, Any] = {
    "problems_per_step": 64,
    "fast": {"k": 4, "anchor": 96, "budget": 1500},
    "slow": {"advantage_norm": "none"},
}
_PAPER_TASKS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("math", "gsm8k", "math500", "polaris"), _PAPER_MATH),
    "physics": {"fast": {"k": 4}},
    "stargraph": {
        "task_options": {"d": 25, "p": 20, "n": 500},
        "problems_per_step": 34,  # 6 x 34 problems hold the anchor set of 200
        "max_tokens": 4096,
        "fast": {"anchor": 200},
    },
}


def recipe(name: str, task: str, model: str) -> dict[str, Any]:
    """The nested settings of a recipe for a task and a model.

    Of several tasks, comma separated, the first one's are taken, with every task's own options. Raises UsageError for
    an unknown recipe.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe `{name}`", hint=nearest(name, list(RECIPES)))
    if "," in task:
        each = {one: recipe(name, one, model) for one in (part.strip() for part in task.split(","))}
        options = {one: values["task_options"] for one, values in each.items() if "task_options" in values}
        return next(iter(each.values())) | {"task": task, "task_options": options, "seed_prompt": TASK_AGNOSTIC}
    if name == "paper":
        layers = [_PAPER, _PAPER_TASKS.get(task, {})]
    else:
        layers = [
            _DEMO, _DEMO_TASKS.get(task, {}), _DEMO_MODELS.get(model, {}), _DEMO_MODEL_TASKS.get((model, task), {})
        ]  # fmt: skip
    merged: dict[str, Any] = {"task": task, "model": model, "recipe": name}
    for layer in layers:
        merged = _merged(merged, layer)
    return merged


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        both[key] = _merged(both[key], value) if isinstance(value, dict) and key in both else value
    return both
