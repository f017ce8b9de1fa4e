"""Answers one after the other, by transformers' own `generate`: for models whose memory of a text cannot be put
together with another's, as state-space layers or learned prompts have it. Knows no queue."""

from typing import Any

from finetune.answering.writing import Terms, Writing
from finetune.generation import one_number_type


class _Drawn:
    """As a streamer `generate` hands it each token, the prompt first."""

    def __init__(self, row: Writing) -> None:
        self.row, self.prompt = row, True

    def put(self, tokens: Any) -> None:
        if self.prompt:
            self.prompt = False
            return
        for token in tokens.reshape(-1).tolist():
            if self.row.ended is None:
                self.row.take(int(token))

    def end(self) -> None:
        pass


def write(row: Writing, model: Any, terms: Terms, pad_id: int) -> None:
    """The whole answer."""
    import torch
    from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

    row.begin(terms)
    config = GenerationConfig(
        max_new_tokens=row.settings.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(row.stop_ids),
        pad_token_id=pad_id,
    )

    def drawn(ids_1T: Any, scores_1V: Any) -> Any:
        """What the answer's own chance draws, made the most likely token."""
        del ids_1T
        token = row.drawn(scores_1V[0])
        only_1V = torch.full_like(scores_1V, float("-inf"))
        only_1V[0, token] = 0
        return only_1V

    def over(ids_1T: Any, scores: Any, **named: Any) -> Any:
        del ids_1T, scores, named
        return torch.tensor([row.ended is not None or row.cancelled], device=terms.device)

    ids_1T = torch.tensor([row.ids], device=terms.device)
    with torch.inference_mode(), one_number_type(model):
        model.generate(
            input_ids=ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            generation_config=config,
            streamer=_Drawn(row),
            stopping_criteria=StoppingCriteriaList([over]),
            logits_processor=LogitsProcessorList([drawn]),
        )
    row.end("cancelled" if row.cancelled else "length")
