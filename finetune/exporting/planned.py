"""What a recipe's export_to asks for: looked at before training, as far as it can be known then, and made when the run
is finished. Makes no choice: every argument comes from the Plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.backends.trust import config_of
from finetune.errors import ModelError
from finetune.exporting import gguf_tools
from finetune.exporting.finished import finished_run
from finetune.exporting.flow import Wish
from finetune.exporting.gguf_model import architecture_of
from finetune.exporting.gguf_tokens import vocabulary_of
from finetune.exporting.go_template import layout_of
from finetune.exporting.places import written
from finetune.exporting.probes import COUNT
from finetune.exporting.targets import TARGETS, default_output
from finetune.screen import Screen


def check(
    *,
    to: Sequence[str],
    quantization: str | None,
    base: Mapping[str, Any],
    tokenizer: Any,
    style: str,
) -> None:
    """MachineError or ModelError if the finished run could not be exported so. `base`: name and revision of the
    base model, and whether it is unpacked as it is loaded; `style`: as generation.style_of."""
    name = str(base["name"])
    config = config_of(name, "main" if Path(name).is_dir() else str(base["revision"]))
    if config.get("quantization_config") and not base["unpacked"]:
        raise ModelError(
            f"export_to: base_model {name} is a checkpoint of quantized weights, and what is trained is merged into "
            "16-bit weights alone. Remove the line, and export the finished run with --base ORG/NAME"
        )
    if quantization is None:
        return
    gguf_tools.refuse_missing(quantization)
    if config and gguf_tools.converter() is None:
        architecture_of({**config, **config.get("text_config", {})})
        vocabulary_of(tokenizer, max(len(tokenizer), int(config.get("vocab_size") or 0)))
    if "ollama" in to and style == "chat_template":
        layout_of(tokenizer, str(tokenizer.bos_token or ""))


def export(*, to: Sequence[str], quantization: str | None, run: str, screen: Screen) -> None:
    """Every form, in the run's folder. One of an earlier run is replaced."""
    for form in to:
        found = finished_run(Path(run))
        output = default_output(Path(run), form)
        with written(output, overwrite=True) as place:
            TARGETS[form].export(Wish(found, output, True, None, COUNT), place, screen, quantization or "f16")
        screen.say(f"exported: {output}")
