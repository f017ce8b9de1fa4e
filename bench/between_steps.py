"""The host's time between the passes of two optimizer steps: what transformers' trainer does there beside ours, in turn
in one process, on a model of 32 tiny layers with an adapter on each linear layer.

Run from the repository root: python bench/between_steps.py [PAIRS]
Prints the median of each round, in ms, and the median ratio of a pair. Needs no GPU."""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.kernels.steps import QuickSteps
from finetune.kernels.trainer import FlatSFTConfig, FlatSFTTrainer
from tests.tiny import tokenizer_of

LAYERS, STEPS = 32, 20
SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2}


class Timed(FlatSFTTrainer):
    """Notes when each step's passes begin and end."""

    def __init__(self, *given: Any, **runtime: Any) -> None:
        self.between: list[float] = []
        self.ended = 0.0
        super().__init__(*given, **runtime)

    def training_step(self, *given: Any, **named: Any) -> Any:
        if self.ended:
            self.between.append(time.perf_counter() - self.ended)
        loss = super().training_step(*given, **named)
        self.ended = time.perf_counter()
        return loss


def median_ms(folder: Path) -> float:
    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", vocab_size=300, num_hidden_layers=LAYERS, **SIZES)
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_config(config), lora)
    args = FlatSFTConfig(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=2,
        logging_steps=STEPS,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        include_num_input_tokens_seen="all",
        disable_tqdm=True,
    )
    rows = Dataset.from_list([{"input_ids": [5] * 16, "labels": [5] * 16}] * 2 * STEPS)
    trainer = Timed(model=model, args=args, train_dataset=rows, processing_class=tokenizer_of("chatml"))
    trainer.train()
    return 1000 * statistics.median(trainer.between)


def main(pairs: int) -> None:
    own = {name: value for name, value in vars(QuickSteps).items() if callable(value)}
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(1, pairs + 1):
            ours = median_ms(Path(folder))
            for name in own:
                delattr(QuickSteps, name)
            theirs = median_ms(Path(folder))
            for name, method in own.items():
                setattr(QuickSteps, name, method)
            ratios.append(theirs / ours)
            print(f"pair {pair}: ours {ours:.1f} ms, transformers {theirs:.1f} ms, {ratios[-1]:.2f} x", flush=True)
    print(f"median {statistics.median(ratios):.2f} x [{min(ratios):.2f}-{max(ratios):.2f}]")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
