"""Options that several subcommands share, written once."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[str, typer.Option("-o", "--out", help="File to write; - for standard output.")]
OutFolder = Annotated[Path, typer.Option("-o", "--out", help="Folder to write into.")]
Problems = Annotated[str, typer.Argument(help="Problems (JSONL); - for standard input.")]
Model = Annotated[str, typer.Option(help="A folder, `mini`, `smollm2-135m`, or a hub id.")]
Weights = Annotated[Path | None, typer.Option(help="Trained weights: the weights/ folder of a train-step.")]
Prompts = Annotated[Path | None, typer.Option(help="Prompts (JSONL); without it, the task's seed prompt.")]
Data = Annotated[
    str | None, typer.Option(help="Problems of your own: a file, a folder, or hub:OWNER/NAME; columns: --set.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every draw.")]
Cycle = Annotated[int, typer.Option(min=0, help="Number of the cycle: part of the address of every draw.")]
Step = Annotated[int, typer.Option(min=0, help="Number of the step: part of the address of every draw.")]
Samples = Annotated[int, typer.Option(min=1, help="Samples of each problem.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")]
TopP = Annotated[float, typer.Option(min=0.0, max=1.0, help="Nucleus sampling; 1 is off.")]
TopK = Annotated[int, typer.Option(min=0, help="Sample from the k likeliest tokens only; 0 is off.")]
MinP = Annotated[float, typer.Option(min=0.0, max=1.0, help="Drop tokens less likely than this share of the best.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest completion, in tokens; a task's tool replies count.")]
MicroTokens = Annotated[
    int, typer.Option(min=1, help="Tokens in one forward pass outside sampling; lower saves memory.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first problems.")]
