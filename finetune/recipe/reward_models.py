"""A reward model's name -> the folder with its weights, and the model that its adapter stands on. Reads one file of
JSON."""

import json
import os
from pathlib import Path

ADAPTER_CONFIG = "adapter_config.json"


def weights_folder(name: str) -> str:
    """Of a run's folder, that of its adapter or model; every other name as it is."""
    for part in ("adapter", "model"):
        inside = os.path.join(name, part)  # noqa: PTH118 - Path's raises for names that are too long
        if os.path.isdir(inside):  # noqa: PTH112
            return inside
    return name


def base_in(config: Path) -> str:
    """What an adapter stands on, as its adapter_config.json says. OSError, ValueError or KeyError if it does not."""
    return str(json.loads(config.read_text("utf-8"))["base_model_name_or_path"])
