"""`fst gen-stargraph`: star graphs of a given shape."""

from typing import Annotated

import typer

from fst_cli.commands.options import Out, Seed


def gen_stargraph(
    d: Annotated[int, typer.Option("--d", help="Degree of the source.")] = 25,
    p: Annotated[int, typer.Option("--p", help="Nodes on the gold path, source and destination included.")] = 20,
    n: Annotated[int, typer.Option("--n", help="Size of the node pool.")] = 500,
    decoy: Annotated[str, typer.Option(help="Fresh nodes on a decoy branch: p-1 (476 nodes in all) or p.")] = "p-1",
    count: Annotated[int, typer.Option(min=1, help="Number of graphs.")] = 200,
    split: Annotated[str, typer.Option(help="train or test; they never share a gold path.")] = "train",
    seed: Seed = 0,
    out: Out = "-",
) -> None:
    """Generate star-graph path-finding problems.

    Example: fst gen-stargraph --d 25 --p 20 --n 500 --count 200 --split test --seed 0 -o test.jsonl
    """
    from fst_cli.stages.generate import generate_stage

    options = {"d": d, "p": p, "n": n, "decoy": decoy}
    generate_stage(out, task="stargraph", task_options=options, split=split, count=count, seed=seed)
