"""`fst schema`: the JSON Schema of a record."""

from typing import Annotated

import typer


def schema(
    record: Annotated[str, typer.Argument(help="problem, prompt, rollout, evaluation, divergence or proposal.")],
) -> None:
    """Print the JSON Schema of a record.

    Example: fst schema rollout
    """
    import sys

    import orjson

    from fst_cli.data.errors import UsageError, nearest
    from fst_cli.data.records import SCHEMAS

    if record not in SCHEMAS:
        raise UsageError(f"unknown record `{record}`", hint=nearest(record, list(SCHEMAS)))
    text = orjson.dumps(SCHEMAS[record].model_json_schema(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
