"""The smallest run in which every stage occurs: five seconds."""

from fst_cli.data.files import sha256

TINY = [
    "--task=math", "--cycles=1", "--steps-per-cycle=4", "--set=problems_per_step=2", "--set=slow.group_size=2",
    "--set=max_tokens=8", "--set=fast.k=2", "--set=fast.anchor=2", "--set=fast.budget=8", "--set=fast.minibatch=1",
    "--set=eval.every=2", "--set=eval.problems=2", "--set=eval.samples=1", "--set=eval.kl_problems=1",
]  # fmt: skip


def data_files(folder):
    """All that is not a time or a measurement of speed."""
    timed = ("stage.json", "manifest.json", "metrics.jsonl", "train.json", "gepa.log", "run_log.txt")
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(timed))
    return {str(path.relative_to(folder)): sha256(path) for path in files}
