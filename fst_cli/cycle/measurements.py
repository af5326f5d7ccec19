"""The measurements of a run: evaluations along the way, and at its end the 2×2 grid and the KL.

`eval.jsonl` of the run is taken before anything is learned, a cycle's after its evolution, a step's after its update.
A continual run measures all of its tasks each time.
"""

from pathlib import Path

from fst_cli.cycle.state import Run
from fst_cli.data import jsonl
from fst_cli.data.records import Prompt
from fst_cli.stages.evaluate import Cell, eval_stage
from fst_cli.stages.kl import kl_stage

CURRENT = "current"  # the cell of the newest weights under the lead prompt


def measure_now(run: Run, label: str, folder: Path, prompts: Path, kl: bool = False) -> None:
    """Evaluate the current weights under the lead prompt, and measure their KL where they have just moved."""
    config = run.config
    for task in config.tasks:
        output = folder / config.file_of("eval", task)
        _evaluate(run, config.label_of(f"{label}: eval", task), task, output, prompts, [CURRENT])
        if kl:
            _kl(run, config.label_of(f"{label}: kl", task), task, folder, prompts)


def measure_end(run: Run, prompts: Path) -> None:
    """{base, trained weights} × {seed, evolved prompt}, and the KL of the trained weights under the lead prompt."""
    config = run.config
    fast, slow = config.fast.enabled, config.slow.enabled
    cells = ["base+seed"]
    cells += ["base+evolved"] if fast else []
    cells += ["trained+seed"] if slow else []
    cells += ["trained+evolved"] if fast and slow else []
    for task in config.tasks:
        output = run.folder / config.file_of("grid", task)
        _evaluate(run, config.label_of("eval --grid", task), task, output, prompts, cells)
        if slow:
            _kl(run, config.label_of("kl", task), task, run.folder, prompts)


def _evaluate(run: Run, label: str, task: str, output: Path, prompts: Path, names: list[str]) -> None:
    config, test = run.config, run.data("test", task)

    def cell(name: str) -> Cell:
        policy = run.base() if name.startswith("base") else run.policy()
        return Cell(name, policy, [_lead(run.folder / "seed.jsonl" if name.endswith("seed") else prompts)])

    def evaluate() -> None:
        eval_stage(
            [cell(name) for name in names],
            test,
            output,
            samples=config.eval.samples,
            sampling=config.eval_sampling,
            seed=config.seed,
            engines=run.engines,
            prompts_path=prompts,
        )

    run.stage(label, output, [test, prompts, run.weights], evaluate)


def _kl(run: Run, label: str, task: str, folder: Path, prompts: Path) -> None:
    config, output = run.config, folder / run.config.file_of("kl", task)
    run.stage(
        label,
        output,
        [run.data("test", task), prompts, run.weights],
        lambda: kl_stage(
            run.policy,
            run.data("test", task),
            prompts,
            output,
            samples=1,
            sampling=config.sampling,
            seed=config.seed,
            engines=run.engines,
            limit=config.eval.kl_problems,
        ),
    )


def _lead(prompts: Path) -> Prompt:
    return jsonl.read_all(prompts, Prompt)[0]
