"""The `fst` command: registers the subcommands and maps errors to exit codes. No logic, no heavy imports."""

import os
import sys
from collections.abc import Callable

import typer

from fst_cli import __version__
from fst_cli.commands import (
    compare,
    cycle,
    evaluate,
    evolve_prompts,
    fetch_model,
    gen_stargraph,
    generate,
    kl,
    prompts,
    report,
    rollout,
    schema,
    seed_prompt,
    status,
    tasks,
    train_step,
)
from fst_cli.data.errors import FstError, ReaderGoneError

app = typer.Typer(
    name="fst",
    help="Fast-Slow Training of language models: RL on the weights, reflective evolution of the prompts.\n\n"
    "Every stage reads and writes files; `fst cycle` chains them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS: list[tuple[str, Callable[..., None]]] = [
    ("cycle", cycle.cycle),
    ("gen-stargraph", gen_stargraph.gen_stargraph),
    ("generate", generate.generate),
    ("seed-prompt", seed_prompt.seed_prompt),
    ("rollout", rollout.rollout),
    ("evolve-prompts", evolve_prompts.evolve_prompts),
    ("train-step", train_step.train_step),
    ("eval", evaluate.evaluate),
    ("kl", kl.kl),
    ("report", report.report),
    ("compare", compare.compare),
    ("status", status.status),
    ("tasks", tasks.tasks),
    ("schema", schema.schema),
    ("fetch-model", fetch_model.fetch_model),
]
for _name, _command in _COMMANDS:
    app.command(_name)(_command)
app.add_typer(prompts.prompts, name="prompts")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fst {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options of `fst` itself."""


def main() -> None:
    """Run `fst`; exit codes: 0 ok, 1 run failed, 2 usage, 3 bad data, 130 Ctrl-C, 141 broken pipe."""
    try:
        app()
    except ReaderGoneError as error:
        # Keep Python from writing to the closed pipe again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(error.code)
    except FstError as error:
        from fst_cli.console import fail

        fail(str(error), error.hint)
        sys.exit(error.code)
    except OSError as error:  # a full disk, a read-only folder, a file that may not be read
        from fst_cli.console import fail

        fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
