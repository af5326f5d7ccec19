"""The main job as the README gives it: minutes each. Run with: pytest -m 'slow or long'"""

import pytest

from tests.cycle.demo import grid


@pytest.mark.parametrize(
    "task", [pytest.param("math", marks=pytest.mark.slow), pytest.param("stargraph", marks=pytest.mark.long)]
)
def test_fast_slow_training_lifts_the_mini_with_intervals_apart(tmp_path, task):
    # One cycle is enough for star graphs: what lifts them is the prompt, in the first.
    cells, seconds = grid(tmp_path, "--task", task, *(["--cycles=1"] if task == "stargraph" else []))
    assert cells["trained+evolved"][0] > cells["base+seed"][2]
    assert cells["base+evolved"][1] > cells["base+seed"][1]
    if task == "math":  # the mini's graph circuit is weak, and a dozen steps do not mend it (examples/mini/README.md)
        assert cells["trained+seed"][0] > cells["base+seed"][2]
    assert seconds < 900  # a hang, not a speed: the README states how long it took
