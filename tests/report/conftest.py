"""Runs as `fst cycle` leaves them, written by hand with planted figures, and one report of many of them."""

import json

import pytest
import tomli_w

from fst_cli.data import jsonl
from fst_cli.data.records import Example, Message, Problem, Prompt, Rollout, Sampling, Score
from fst_cli.report.write import write_report

HOSTILE = [
    "<script>document.title='owned'</script>",
    "</div></details></main><img src=x onerror=\"document.title='owned'\">",
    "\x1b[2J\x1b]0;owned\x07 [bold red]markup[/] \x00 $\\frac{1}{0}$ {{ 7*7 }} {% raw %}",
    "\u202egnol\u200b <a href=\"javascript:document.title='owned'\">x</a> url(https://evil.example/x) --!> ]]>",
]
INSTRUCTIONS = ["Solve it.", "Solve it step by step.", "Solve it with care.", "Solve it with care, step by step."]


class Planted:
    """A run: `curve` gives success by update, 0 first; `evolved` gives what the evolution before a cycle gives."""

    def __init__(
        self,
        folder,
        task="math",
        seed=0,
        fast=True,
        slow=True,
        cycles=2,
        steps=3,
        curve=None,
        evolved=None,
        hostile=False,
        **config,
    ):
        self.folder, self.tasks, self.seed, self.hostile = folder, task.split(","), seed, hostile
        self.fast, self.slow, self.cycles, self.steps = fast, slow, cycles, steps if slow else 1
        self.curve = curve or (lambda name, update: min(0.9, 0.1 + 0.12 * update) + 0.01 * seed)
        self.evolved = evolved or (lambda name, cycle: 0.4 + 0.1 * cycle + 0.01 * seed)
        self.config = {
            "task": task, "model": "mini", "seed": seed, "cycles": cycles, "steps_per_cycle": self.steps, "switch_every": 0,
            "fast": {"enabled": fast}, "slow": {"enabled": slow}, "eval": {"problems": 50, "samples": 2, "kl_problems": 10},
        } | config  # fmt: skip

    def success(self, update, value=None):
        found = {}
        for name in self.tasks:
            key = f"eval/{name}/success_mean@2" if len(self.tasks) > 1 else "eval/success_mean@2"
            mean = self.curve(name, update) if value is None else value(name)
            found |= {key: mean, f"{key}/low": mean - 0.05, f"{key}/high": mean + 0.05}
        return found

    def rows(self):
        yield {"update": 0, "cost/rollouts": 0} | self.success(0)
        update, rollouts = 0, 0
        for cycle in range(self.cycles):
            if self.fast:
                rollouts += 40
                here = {"update": update, "cycle": cycle, "fast/pool": 3 + cycle, "cost/rollouts": rollouts}
                here |= {
                    "fast/anchor_mean_before": 0.2,
                    "fast/anchor_mean_after": 0.6,
                    "cost/fast/rollouts": 40 * (cycle + 1),
                }
                yield here | self.success(update, lambda name, cycle=cycle: self.evolved(name, cycle))
            for step in range(self.steps if self.slow else 0):
                update, rollouts = update + 1, rollouts + 16
                here = {
                    "update": update,
                    "cycle": cycle,
                    "step": step,
                    "cost/rollouts": rollouts,
                    "cost/slow/rollouts": 16 * update,
                }
                here |= {
                    "slow/entropy": 0.5 / update,
                    "slow/grad_norm": 0.1,
                    "slow/mismatch_kl": 1e-6 * update,
                    "rollout/truncated_share": 0.0,
                }
                for name in self.tasks:
                    key = f"kl/{name}/kl_per_token" if len(self.tasks) > 1 else "kl/kl_per_token"
                    here |= {key: 0.01 * update, f"{key}/low": 0.005 * update, f"{key}/high": 0.02 * update}
                yield here | self.success(update)

    def write(self, rows=None, bare=False):
        self.folder.mkdir(parents=True)
        (self.folder / "config.toml").write_text(tomli_w.dumps(self.config))
        lines = [json.dumps(row) + "\n" for row in list(self.rows())[:rows]]
        (self.folder / "metrics.jsonl").write_text("".join(lines))
        if bare:
            return self.folder
        cost = {"rollout": {"seconds": 50.0}, "train-step": {"seconds": 30.0}, "eval": {"seconds": 20.0}}
        (self.folder / "manifest.json").write_text(
            json.dumps({"fst": "0.1.0", "versions": {"torch": "2"}, "cost": cost})
        )
        jsonl.write(self.folder / "seed.jsonl", [self.prompt(0)])
        for cycle in range(self.cycles):
            self.write_cycle(cycle)
        self.write_grid()
        return self.folder

    def prompt(self, number, **known):
        examples = [Example(question=HOSTILE[1], reply=HOSTILE[0], problem_id="e")] if self.hostile and number else []
        known = {"origin": "edit" if number else "seed", "parents": [f"prompt{number - 1}"] if number else []} | known
        text = INSTRUCTIONS[number] + (HOSTILE[number] if self.hostile and number else "")
        return Prompt(
            id=f"prompt{number}", instruction=text, examples=examples, edit=HOSTILE[2] if self.hostile else "", **known
        )

    def write_cycle(self, cycle):
        folder = self.folder / f"cycle-{cycle:03d}"
        folder.mkdir()
        if self.fast:
            scores = {"a": 1.0, "b": 0.5}
            best = [self.prompt(n, cycle=cycle, scores=scores, mean=0.75, coverage=2, rank=3 - n) for n in (3, 2)]
            jsonl.write(folder / "prompts.jsonl", best)
            jsonl.write(folder / "prompts.lineage.jsonl", [self.prompt(0), self.prompt(1)])
        for step in range(self.steps if self.slow else 0):
            (folder / f"step-{step:02d}").mkdir()
            jsonl.write(folder / f"step-{step:02d}" / "problems.jsonl", [self.problem(n) for n in range(4)])
            jsonl.write(folder / f"step-{step:02d}" / "rollouts.jsonl", [self.rollout(n) for n in range(16)])

    def problem(self, number):
        text = f"What is {number} + 1?" + (HOSTILE[number] if self.hostile else "")
        return Problem(
            id=f"p{number}",
            task=self.tasks[0],
            split="train",
            messages=[Message(role="user", content=text)],
            answer="1",
        )

    def rollout(self, number):
        right = number % 4 < 2
        text = f"sample {number} says {number + 1}" + (HOSTILE[number % 4] if self.hostile else "")
        feedback = HOSTILE[(number + 1) % 4] if self.hostile else "no"
        score = Score(reward=float(right), success=right, feedback=feedback, failure=None if right else "wrong_value")
        return Rollout(
            id=f"r{number}", group_id="g", problem_id=f"p{number % 4}", prompt_id="prompt3", sample=number, seed=0, text=text,
            finish_reason="stop", prompt_tokens=1, completion_tokens=4, score=score, policy="x", template="y", sampling=Sampling(),
        )  # fmt: skip

    def write_grid(self):
        cells = ["base+seed", "base+evolved", "trained+seed", "trained+evolved"]
        cells = [c for c in cells if (self.fast or "evolved" not in c) and (self.slow or "trained" not in c)]
        last = f"cycle-{self.cycles - 1:03d}"
        inputs = {"weights": {"path": f"{last}/step-02/weights"}, "prompts": {"path": f"{last}/prompts.jsonl"}}
        for name in self.tasks:
            figures = {
                cell: {"success_mean@2": {"mean": m, "low": m - 0.05, "high": m + 0.05, "n": 50}}
                for m, cell in zip((0.1, 0.4, 0.6, 0.8), cells, strict=False)
            }
            stem = f"grid-{name}" if len(self.tasks) > 1 else "grid"
            (self.folder / f"{stem}.stage.json").write_text(json.dumps({"inputs": inputs, "figures": figures}))


@pytest.fixture(scope="session")
def planted():
    """Make a run: `planted(folder, ...).write()`."""
    return Planted


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """A report of every kind of arm; names, prompts, problems and rollouts of one are hostile."""
    runs = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        Planted(runs / "math" / "fst" / f"seed-{seed}", seed=seed, hostile=True, cycles=4).write()
        Planted(runs / "math" / "rl $x_1$ <b onclick=x>" / f"seed-{seed}", seed=seed, fast=False, cycles=4).write()
    Planted(runs / "math" / "gepa" / "seed-0", slow=False).write()
    origin = str(runs / "codeio" / "rl" / "cycle-001" / "step-02" / "weights")
    engine = {"base_url": "https://user:pa55word@host.example/v1"}
    Planted(runs / "math" / "after-codeio" / "seed-0", fast=False, init_from=origin, engine=engine).write()
    for name, fast in (("fst", True), ("rl", False)):
        Planted(runs / "continual" / name / "seed-0", task="math,codeio", switch_every=3, fast=fast).write()
    out = tmp_path_factory.mktemp("report") / "report"
    write_report(sorted(runs.glob("*/*")), out)
    return out
