"""torchtune's configuration -> keys: tables of its components and of their arguments.

For torchtune 0.7.0. Defaults are those of its builders, of torch.optim and of bitsandbytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import NotCarriedError
from finetune.importing.rules import Carry, Idle, Lost, Only, Read, Rule, Table

VERSION = "0.7.0"
_FILES = Idle("where the model's files are, which base_model says")
_SHOWN = Idle("what is shown or measured beside training")
_PROMPT = "### Instruction:\n{instruction}\n\n"
_BELOW = "Below is an instruction that describes a task"
ALPACA = {
    "format": f"{_BELOW}, paired with an input that provides further context. "
    f"Write a response that appropriately completes the request.\n\n{_PROMPT}### Input:\n{{input}}\n\n### Response:\n",
    "no_input_format": f"{_BELOW}. Write a response that appropriately completes the request.\n\n"
    f"{_PROMPT}### Response:\n",
    "as_turns": True,
}
"""Alpaca's wording inside a user's turn, as torchtune's alpaca data sets have it."""


TOP: Table = {
    "output_dir": Carry("output_dir", to.text),
    "model": Read("the adapter, its size and its layers"),
    "tokenizer": Read("`sequence_len`; the layout of turns is the model's own"),
    "checkpointer": Read("`base_model`"),
    "dataset": Read("`datasets`"),
    "dataset_val": Read("`test_datasets`"),
    "optimizer": Read("`optimizer`, `learning_rate`, `weight_decay`"),
    "lr_scheduler": Read("`lr_scheduler`, `warmup_steps`; without one the learning rate is constant"),
    "loss": Read("`rl: dpo` with its loss; cross-entropy however it is computed"),
    "seed": Carry("seed", to.whole),
    "shuffle": Read("`curriculum_sampling` where it is false"),
    "batch_size": Carry("micro_batch_size", to.whole),
    "batch_size_val": Read("`eval_batch_size`, where there are validation rows"),
    "epochs": Read("`num_epochs`"),
    "max_steps_per_epoch": Read("`max_steps`, times the epochs"),
    "gradient_accumulation_steps": Carry("gradient_accumulation_steps", to.whole),
    "clip_grad_norm": Carry("max_grad_norm", to.number),
    "compile": Read("`torch_compile`"),
    "dtype": Read("`bf16`"),
    "enable_activation_checkpointing": Carry("gradient_checkpointing", to.flag),
    "enable_activation_offloading": Carry("activation_offloading", to.flag, off=(None, False)),
    "resume_from_checkpoint": Lost("a run is gone on from by its own folder", "finetune RECIPE --resume"),
    "save_adapter_weights_only": Idle("an adapter is saved by itself; `finetune merge` writes the whole model"),
    "save_every_n_steps": Carry("save_steps", to.whole),
    "save_every_n_epochs": Read("`save_strategy: epoch` where it is 1"),
    "epochs_to_save": Lost("checkpoints are kept by save_total_limit"),
    "optimizer_in_bwd": Lost(
        "weights are not changed inside the backward pass", "`optimizer: adamw_8bit` saves memory"
    ),
    "metric_logger": Read("`wandb_project`, `use_tensorboard`, `use_comet`"),
    "log_every_n_steps": Carry("logging_steps", to.whole),
    "log_peak_memory_stats": _SHOWN,
    "log_level": _SHOWN,
    "log_dir": _SHOWN,
    "profiler": _SHOWN,
    "device": Only(
        ("cuda", None), "the GPU is used where there is one", "hide it: CUDA_VISIBLE_DEVICES= finetune RECIPE"
    ),
    "collate_fn": Idle("how rows are padded does not change what is learned"),
    "low_cpu_ram": Idle("how weights are loaded"),
    "run_val_every_n_steps": Carry("eval_steps", to.whole),
    "max_seq_len": Read("`sequence_len`"),
    "cudnn_deterministic_mode": Lost("there is no such mode; the same seed, data and machine give the same run"),
    "enable_async_checkpointing": Idle("how checkpoints are written"),
    "fsdp_cpu_offload": Lost("several GPUs are used otherwise here", "docs/many_gpus.md"),
    "fsdp_reshard_after_forward": Lost("several GPUs are used otherwise here", "docs/many_gpus.md"),
    "custom_sharded_layers": Idle("of several GPUs"),
    "data_parallel_shard_dim": Idle("of several GPUs"),
    "data_parallel_replicate_dim": Idle("of several GPUs"),
    "tensor_parallel_dim": Lost("there is no tensor parallelism", "docs/many_gpus.md", off=(None, 1)),
    "tensor_parallel_plan": Idle("of tensor_parallel_dim"),
    "context_parallel_dim": Lost("there is no context parallelism", "docs/many_gpus.md", off=(None, 1)),
    "enable_fp8_training": Lost("nothing is computed in 8-bit floats"),
    "fp8_recipe_name": Idle("of enable_fp8_training"),
    "memory_efficient_fsdp_wrap": Idle("of several GPUs"),
    "ac_mode": Idle("how activations are kept"),
    "ac_option": Idle("how activations are kept"),
    "base_model_path": _FILES,
    "safetensors_dir": _FILES,
    "model_dir": _FILES,
    "ref_checkpointer": Idle("the reference is the model as it began"),
    "label_smoothing": Carry("dpo_label_smoothing", to.number, off=(None, 0, 0.0)),
    "use_loss_parallel_ctx_manager": Idle("how the loss is computed"),
    "prompt": Idle("of generating"),
}
MODEL: Table = {
    "lora_attn_modules": Read("`lora_target_modules`"),
    "apply_lora_to_mlp": Read("`lora_target_modules`"),
    "apply_lora_to_output": Read("`lora_target_modules`"),
    "lora_rank": Carry("lora_r", to.whole),
    "lora_alpha": Carry("lora_alpha", to.whole),
    "lora_dropout": Carry("lora_dropout", to.number),
    "use_dora": Carry("peft_use_dora", to.flag, off=(None, False)),
    "quantize_base": Read("`load_in_4bit`"),
    "tie_word_embeddings": Idle("the model's own files say it"),
}
TOKENIZER: Table = {
    "path": _FILES,
    "merges_file": _FILES,
    "merges_path": _FILES,
    "vocab_path": _FILES,
    "special_tokens_path": _FILES,
    "max_seq_len": Read("`sequence_len`"),
    "prompt_template": Read("`chat_template` where it is one of torchtune's own"),
    "truncation_type": Only(("right", None), "a longer row loses its end", "truncation_side"),
}
CHECKPOINTER: Table = {
    "checkpoint_dir": Read("`base_model`"),
    "checkpoint_files": _FILES,
    "recipe_checkpoint": Lost("a run is gone on from by its own folder", "finetune RECIPE --resume"),
    "adapter_checkpoint": Lost("a run is gone on from by its own folder", "finetune RECIPE --resume"),
    "output_dir": Idle("the run folder holds the result"),
    "model_type": Idle("the model's own files say it"),
    "safe_serialization": Idle("weights are saved as safetensors"),
    "should_load_recipe_state": Idle("of going on"),
    "keep_last_n_checkpoints": Carry("save_total_limit", to.whole),
    "enable_dcp": Idle("how checkpoints are written"),
}
OPTIMIZER: Table = {
    "lr": Carry("learning_rate", to.number),
    "weight_decay": Carry("weight_decay", to.number),
    "betas": Read("`adam_beta1` and `adam_beta2`"),
    "eps": Carry("adam_epsilon", to.number),
    "fused": Read("`optimizer: adamw_torch_fused`"),
    "foreach": Idle("how it is computed"),
    "momentum": Lost("write it in optim_args"),
}
SCHEDULER: Table = {
    "num_warmup_steps": Carry("warmup_steps", to.whole, off=(None, 0)),
    "num_cycles": Only((0.5, None), "the cosine falls once, to zero"),
}
DATASET: dict[str, Rule] = {
    "source": Read("`path`"),
    "split": Read("`split`"),
    "name": Read("`name`"),
    "subset": Read("`name`"),
    "data_files": Read("`data_files`"),
    "data_dir": Lost("an entry has no folder inside a data set", "data_files"),
    "packed": Read("`sample_packing`"),
    "train_on_input": Read("`train_on_inputs`"),
    "masking_strategy": Read("`train_on_inputs`"),
    "column_map": Read("the columns of `type`"),
    "new_system_prompt": Carry("default_system_message", to.text),
    "conversation_column": Read("`field_messages`"),
    "conversation_style": Read("`message_property_mappings`"),
    "column": Read("`field` of `type: completion`"),
    "add_eos": Only((True,), "a text is learned with its end token"),
    "split_across_pack": Idle("how texts are packed"),
    "filter_fn": Lost("an entry's `filter` is an expression over a row"),
    "max_seq_len": Read("`sequence_len`"),
    "prompt_template": Lost("write the wording as a mapping under `type`"),
    "image_dir": Lost("rows here are text"),
    "image_tag": Lost("rows here are text"),
    "partition": Lost("an entry's rows are named by `split`: train[:10%]"),
}


@dataclass(frozen=True)
class Data:
    """What a builder of data sets reads. `inputs`: whether it learns questions too, unless told otherwise."""

    source: str = ""
    inputs: bool = False
    entry: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


_PAIRED = {"type": "chat_template"}
_SHAREGPT = {"type": "chat_template", "field_messages": "conversations"}
DATASETS: Mapping[str, Data] = {
    "alpaca_dataset": Data("tatsu-lab/alpaca", True, {"type": ALPACA}),
    "alpaca_cleaned_dataset": Data("yahma/alpaca-cleaned", True, {"type": ALPACA}),
    "chat_dataset": Data("", False, {"type": "chat_template"}),
    "instruct_dataset": Data(
        "",
        False,
        {"type": {"field_instruction": "input", "field_input": "", "field_output": "output", "as_turns": True}},
    ),
    "text_completion_dataset": Data("", True, {"type": "completion"}),
    "preference_dataset": Data("", False, _PAIRED),
    "stack_exchange_paired_dataset": Data(
        "lvwerra/stack-exchange-paired",
        False,
        {**_PAIRED, "field_prompt": "question", "field_chosen": "response_j", "field_rejected": "response_k"},
        "there a question stands in a wording of its own (Question: … Answer:)",
    ),
    "hh_rlhf_helpful_dataset": Data("RLHFlow/HH-RLHF-Helpful-standard", False, _PAIRED),
    "slimorca_dataset": Data("Open-Orca/SlimOrca-Dedup", False, _SHAREGPT),
    "samsum_dataset": Data(
        "Samsung/samsum", False, {"type": "summarization"}, "there the wording is Summarize this dialogue: … Summary:"
    ),
    "grammar_dataset": Data(
        "liweili/c4_200m",
        False,
        {"type": {"field_instruction": "input", "field_input": "", "field_output": "output", "as_turns": True}},
        "there a wording about grammar stands before it",
    ),
    "cnn_dailymail_articles_dataset": Data("ccdv/cnn_dailymail", True, {"type": "completion", "field": "article"}),
    "wikitext_dataset": Data(
        "EleutherAI/wikitext_document_level",
        True,
        {"type": "completion", "field": "page", "name": "wikitext-103-v1"},
    ),
}
OPTIMIZERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "torch.optim.AdamW": ("adamw_torch", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    "torch.optim.Adam": ("", {}),
    "torch.optim.SGD": ("sgd", {"learning_rate": 1e-3, "weight_decay": 0.0}),
    "bitsandbytes.optim.AdamW8bit": ("adamw_8bit", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    "bitsandbytes.optim.PagedAdamW": ("paged_adamw_32bit", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    "bitsandbytes.optim.PagedAdamW8bit": ("paged_adamw_8bit", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    "torchao.optim.AdamW8bit": ("adamw_torch_8bit", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    "torchao.optim.AdamW4bit": ("adamw_torch_4bit", {"learning_rate": 1e-3, "weight_decay": 0.01}),
}
SCHEDULERS = {
    "get_cosine_schedule_with_warmup": "cosine",
    "get_linear_schedule_with_warmup": "linear",
    "get_constant_schedule_with_warmup": "constant_with_warmup",
    "get_constant_schedule": "constant",
}
REFUSED = {
    "teacher_model": "knowledge distillation",
    "policy_model": "PPO",
    "reward_and_value_model": "PPO",
    "value_checkpointer": "PPO",
    "quantizer": "training with quantization in mind (QAT), or quantizing",
    "tasks": "evaluation",
    "grpo_samples": "torchtune's GRPO",
    "orchestration": "torchtune's GRPO",
    "inference": "generating",
    "max_new_tokens": "generating",
}
"""A key at the top that makes the file one for something else than training here."""


def named(component: str) -> str:
    return component.rsplit(".", 1)[-1]


def loss_of(component: str) -> str | None:
    """dpo_loss_type of a loss of pairs; None for cross-entropy however it is computed."""
    name = named(component)
    if name in ("DPOLoss", "RSOLoss"):
        return {"DPOLoss": "sigmoid", "RSOLoss": "hinge"}[name]
    if "CrossEntropy" in name or name.startswith("CEWithChunked"):
        return None
    raise NotCarriedError(f"the loss {name} has no counterpart")
