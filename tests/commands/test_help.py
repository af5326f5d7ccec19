"""What a person meets first."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from fst_cli import __version__
from fst_cli.app import app


def leaves(group, words=()):
    """Every command by its words, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


ROOT = dict(leaves(typer.main.get_command(app)))
COMMANDS = sorted(ROOT)
README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_every_option_a_help(name):
    command = ROOT[name]
    assert re.search(rf"Example: fst {name}\b", command.help), name
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    assert all(p.help for p in options) and (options or name == "schema"), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"fst {name}" in README.read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_parses(name):
    """The example of each help text is a command line that its own parser takes."""
    command = ROOT[name]
    example = re.search(rf"Example: fst {name}\s+(.*?)(?:\n\n|$)", command.help, re.DOTALL).group(1)
    command.make_context(name, example.split())


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom fst_cli.app import main\nsys.argv = ['fst', '--help']\ntry:\n    main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'vllm', 'peft', 'gepa', 'openai', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_console_script_and_the_module_are_the_same_command(fst):
    entry = importlib.metadata.entry_points(group="console_scripts", name="fst")
    assert [point.value for point in entry] == ["fst_cli.app:main"]
    assert fst("--version").stdout == f"fst {__version__}\n"
