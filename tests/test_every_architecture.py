"""Every architecture that transformers can load as a causal language model: its rows are laid out so that each document
is read as if it were alone, and LoRA is where it is said to be."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from finetune.adapters.kept import keep_reach
from finetune.adapters.left_out import leave_out
from finetune.adapters.reach import unreached
from finetune.errors import TrainingError
from finetune.kernels import attention
from tests.architectures import EVERY, VOCABULARY, tiny_model, unless_it_cannot_be_made
from tests.test_architectures import trainer_of

LENGTHS = [30, 17, 5]


def documents() -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    return [torch.randint(10, VOCABULARY - 10, (length,), generator=made) for length in LENGTHS]


def alone(model: Any, ids: torch.Tensor) -> torch.Tensor:
    given = {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None], "use_cache": False}
    with torch.no_grad():
        logits: torch.Tensor = model(**given).logits[0]
    return logits


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_rows_of_every_architecture_lie_flat_as_they_are_alone_or_it_is_said_why_not(kind: str, tmp_path: Path) -> None:
    rows = documents()
    with unless_it_cannot_be_made():
        model = tiny_model(kind, spread=4.0)
        wanted = [alone(model, row) for row in rows]
    attention.take(model=model)
    try:
        trainer = trainer_of(model, tmp_path, router_aux_loss_coef=0.0)
    except TrainingError as error:
        print(kind, error)
        other = rows[0].clone()
        other[-1] = (other[-1] + 50) % VOCABULARY
        assert not torch.equal(alone(model, other)[:-1], wanted[0][:-1])
        return
    print(kind, trainer.remarks)
    if not trainer.flat:
        assert any(remark.startswith("batches are padded: ") for remark in trainer.remarks)
        return
    with torch.no_grad():
        found = model.eval()(**trainer._laid(torch.cat(rows), LENGTHS)).logits[0]
    assert (found - torch.cat(wanted)).norm() < 1e-4 * torch.cat(wanted).norm()


@pytest.mark.slow
@pytest.mark.parametrize("kind", EVERY)
def test_lora_is_on_every_linear_layer_of_every_architecture_but_those_it_names(kind: str) -> None:
    with unless_it_cannot_be_made():
        model = tiny_model(kind)
        alone(model, documents()[0])
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    leave_out(model=model, peft_config=config)
    keep_reach(model=model, peft_config=config)
    left, head = tuple(config.exclude_modules or ()), model.get_output_embeddings()
    adapted = get_peft_model(model, config)
    bare = {
        name
        for name, layer in adapted.get_base_model().named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head and "lora_" not in name
    }
    assert {name for name in bare if not name.endswith((*left, "base_layer"))} == set()
    alone(adapted, documents()[0])
    print(kind, unreached(adapted))
