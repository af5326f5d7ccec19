"""The embedded model is what examples/mini/README.md says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from fst_cli.cycle.recipes import recipe
from fst_cli.data.records import Sampling
from fst_cli.engines.collect import Slot, collect
from fst_cli.engines.transformers_engine import TransformersEngine
from fst_cli.fast.population import make_prompt
from fst_cli.policy.names import MINI
from fst_cli.tasks.registry import get_task, task_options

TOKENIZER = AutoTokenizer.from_pretrained(MINI)


def test_it_is_small_and_loads_with_plain_transformers():
    assert (MINI / "model.safetensors").stat().st_size <= 16_000_000
    model = AutoModelForCausalLM.from_pretrained(MINI)
    assert 1e6 <= model.num_parameters() <= 8e6
    assert model.config.max_position_embeddings >= 1024


@given(st.text())
def test_any_text_encodes_and_comes_back(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == text.encode("utf-8", "replace").decode()


@given(st.integers(0, 10**12))
def test_every_digit_is_its_own_token(number):
    assert len(TOKENIZER.encode(f"{number}", add_special_tokens=False)) == len(str(number))


BETTER = {
    "math": "Work digit by digit and write every carry and borrow.",
    "stargraph": "Trace back from the destination to the source, then reverse the path.",
}


@pytest.mark.parametrize("name", BETTER)
def test_a_better_instruction_multiplies_success(mini, name):
    task = get_task(name)
    options = task_options(task, recipe("demo", name, "mini")["task_options"])
    problems = list(task.problems(options, "test", 96, 123))

    def success(instruction):
        slots = [Slot(problem, make_prompt(instruction), sample) for problem in problems for sample in range(2)]
        found = collect(mini, TransformersEngine(mini), slots, Sampling(max_tokens=128), (0, "test"), "")
        return found.figures()["success_share"]

    seed, good = success(task.seed_prompt), success(f"Put your final answer inside \\boxed{{}}. {BETTER[name]}")
    assert 0.0 < seed <= 0.2
    assert good >= {"math": 3, "stargraph": 1.3}[name] * seed
