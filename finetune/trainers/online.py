"""TRL's GRPO and RLOO trainers, with our begin token: a question that is plain text gets one where rows to imitate get
one, and never two."""

from typing import Any

import trl

from finetune.rendering.texts import begin_of_text
from finetune.trainers.resuming import BothAdapters


class _Asking:
    """What both share: how plain texts become tokens."""

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        if prompts and isinstance(prompts[0], str):
            tokenizer: Any = self.processing_class  # type: ignore[attr-defined]
            begin = begin_of_text(tokenizer)
            texts = [begin + prompt for prompt in prompts]
            return tokenizer(text=texts, add_special_tokens=False)["input_ids"], None, {}
        return super()._tokenize_prompts(prompts)  # type: ignore[misc]


class GRPOTrainer(BothAdapters, _Asking, trl.GRPOTrainer):  # type: ignore[misc]
    _name = "GRPO"


class RLOOTrainer(BothAdapters, _Asking, trl.RLOOTrainer):  # type: ignore[misc]
    _name = "RLOO"
