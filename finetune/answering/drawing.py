"""Logits of one place in one answer -> its next token. Transformers' own processors, in their order; the seed is the
answer's own, so that what stands beside it changes nothing. Knows no queue."""

from collections.abc import Callable, Sequence
from typing import Any

from finetune.answering.settings import Settings


class Drawer:
    """Draws the tokens of one answer."""

    def __init__(self, settings: Settings, device: Any) -> None:
        import torch

        self.settings = settings
        self.chance = torch.Generator(device=device)
        self.chance.manual_seed(settings.seed) if settings.seed is not None else self.chance.seed()
        self._steps = _steps(settings)

    def draw(self, logits_V: Any, prompt: Sequence[int], new: Sequence[int]) -> int:
        """`prompt` and `new`: the tokens before, as repetition counts both, frequency and presence only what is new."""
        import torch

        scores_1V = logits_V.float()[None]
        scores_1V = self._counted(scores_1V, new)
        if self._steps:
            ids_1T = torch.tensor([[*prompt, *new]], device=scores_1V.device)
            for step in self._steps:
                scores_1V = step(ids_1T, scores_1V)
        if self.settings.temperature == 0:
            return int(scores_1V.argmax())
        chances_1V = torch.softmax(scores_1V, dim=-1)
        return int(torch.multinomial(chances_1V, 1, generator=self.chance))

    def _counted(self, scores_1V: Any, new: Sequence[int]) -> Any:
        import torch

        often, there = self.settings.frequency_penalty, self.settings.presence_penalty
        if not new or not (often or there):
            return scores_1V
        tokens, counts = torch.tensor(list(new), device=scores_1V.device).unique(return_counts=True)
        scores_1V = scores_1V.clone()
        scores_1V[0, tokens] -= often * counts + there
        return scores_1V


def _steps(settings: Settings) -> list[Callable[[Any, Any], Any]]:
    from transformers.generation import logits_process as library

    steps: list[Callable[[Any, Any], Any]] = []
    if settings.repetition_penalty != 1:
        steps.append(library.RepetitionPenaltyLogitsProcessor(float(settings.repetition_penalty)))
    if settings.temperature == 0:
        return steps
    if settings.temperature != 1:
        steps.append(library.TemperatureLogitsWarper(float(settings.temperature)))
    if settings.top_k:
        steps.append(library.TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        steps.append(library.TopPLogitsWarper(float(settings.top_p)))
    if settings.min_p:
        steps.append(library.MinPLogitsWarper(float(settings.min_p)))
    return steps
