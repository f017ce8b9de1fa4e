"""What people run without us, one process each: python bench/gpu/peers.py FIXTURE NAME STEPS OUT.jsonl [--tiny]

NAME: `unsloth`, the usual notebook's calls; `trl`, the same with TRL, PEFT and bitsandbytes; with `-packed` (TRL's
packing and Liger), `-8x1` (8 rows in a pass instead of 2 in each of 4), `-bf16` (no quantization, no checkpointing).
Writes a line a step: step, seconds, loss, tokens (padding not counted), peak memory in GiB."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ROLES = {"human": "user", "gpt": "assistant"}


def unsloth_model(path: str, four_bit: bool) -> tuple[Any, Any]:
    from unsloth import FastLanguageModel

    model, tokenizer = FastLanguageModel.from_pretrained(path, max_seq_length=2048, load_in_4bit=four_bit)
    kind = "unsloth" if four_bit else False
    arguments = {"r": 16, "lora_alpha": 32, "lora_dropout": 0, "target_modules": TARGETS, "random_state": 42}
    return FastLanguageModel.get_peft_model(model, use_gradient_checkpointing=kind, **arguments), tokenizer


def trl_model(path: str, four_bit: bool, tiny: bool) -> tuple[Any, Any]:
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    quantized = None
    if four_bit and not tiny:
        quantized = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    where = {"": "cpu"} if tiny else {"": 0}
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.bfloat16, device_map=where, quantization_config=quantized
    )
    if quantized:
        model = prepare_model_for_kbit_training(model, gradient_checkpointing_kwargs={"use_reentrant": False})
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0, target_modules=TARGETS, task_type="CAUSAL_LM")
    return get_peft_model(model, lora), AutoTokenizer.from_pretrained(path)


def main(fixture: Path, name: str, steps: int, out: Path, tiny: bool) -> None:
    engine, packed, four_bit = name.split("-")[0], "-packed" in name, "-bf16" not in name
    path = str(fixture / "model")
    # Unsloth has to be imported before what it patches.
    model, tokenizer = unsloth_model(path, four_bit) if engine == "unsloth" else trl_model(path, four_bit, tiny)
    import torch
    from datasets import load_dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    def as_text(row: dict[str, Any]) -> dict[str, str]:
        talk = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversations"]]
        return {"text": tokenizer.apply_chat_template(talk, tokenize=False)}

    class Recorder(TrainerCallback):
        def __init__(self) -> None:
            self.began = time.perf_counter()
            self.file = out.open("w")

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
                told = {"step": state.global_step, "seconds": time.perf_counter() - self.began, "loss": logs["loss"]}
                print(
                    json.dumps(told | {"tokens": state.num_input_tokens_seen, "peak": peak}), file=self.file, flush=True
                )

    data = load_dataset("json", data_files=str(fixture / "chat.jsonl"), split="train")
    data = data.map(as_text, remove_columns=data.column_names)
    rows = 8 if "-8x1" in name else 2
    checkpointing = engine == "trl" and four_bit
    config = SFTConfig(
        output_dir=str(out.parent / "peer"),
        max_length=2048,
        packing=packed,
        use_liger_kernel=packed and not tiny,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=8 // rows,
        gradient_checkpointing=checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if checkpointing else None,
        learning_rate=2e-4,
        lr_scheduler_type="linear",
        warmup_steps=10,
        weight_decay=0.01,
        optim="adamw_torch" if tiny else "adamw_8bit",
        bf16=not tiny,
        use_cpu=tiny,
        max_steps=steps,
        logging_steps=1,
        seed=42,
        save_strategy="no",
        report_to="none",
        include_num_input_tokens_seen="non_padding",
        disable_tqdm=True,
    )
    SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer, callbacks=[Recorder()]).train()


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), "--tiny" in sys.argv)
