"""Going on with an adapter that is compared with a frozen copy of itself."""

from pathlib import Path
from typing import Any

SAVED = "adapter_model.safetensors"


class BothAdapters:
    """Loads the trained adapter of a checkpoint too, which transformers 5.17 passes over where the checkpoint also
    holds a folder with the reference: it then trained on from a new adapter, with the old optimizer. A test fails once
    transformers loads both."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
        folder = Path(resume_from_checkpoint)
        whole = self.accelerator.unwrap_model(self.model if model is None else model)  # type: ignore[attr-defined]
        references = [path.parent.name for path in folder.glob(f"*/{SAVED}")]
        if references and "default" not in references and (folder / SAVED).is_file():
            whole.load_adapter(str(folder), "default", is_trainable=True)
            whole.set_adapter("default")
