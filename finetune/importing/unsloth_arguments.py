"""Unsloth's calls -> keys: loading, adapters, templates, and its trainer's own defaults. Tables alone.

For unsloth 2026.10.7. A test holds the tables against the signatures in its source."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.rules import Carry, Idle, Lost, Only, Read, Table

VERSION = "2026.10.7"
_LOADS = Idle("how the model is loaded does not change what is learned")
_VLLM = Idle("how answers are generated while training; transformers generates them here")
_PARTS = "every linear layer of the text model is chosen by lora_target_modules"
LOAD: Table = {
    "model_name": Read("`base_model`"),
    "max_seq_length": Read("`sequence_len`, where the trainer says nothing else"),
    "dtype": Read("`bf16` and `fp16`, with the flags of training"),
    "load_in_4bit": Read("`load_in_4bit`, which is on there unless this says otherwise"),
    "load_in_8bit": Carry("load_in_8bit", to.flag, off=(None, False)),
    "load_in_16bit": Read("`load_in_4bit: false`"),
    "full_finetuning": Read("no adapter"),
    "trust_remote_code": Carry("trust_remote_code", to.flag, off=(None, False)),
    "revision": Carry("revision_of_model", to.text, off=(None, "main")),
    "tokenizer_name": Carry("tokenizer_config", to.text),
    "token": Lost(
        "a recipe holds no secrets", "set HF_TOKEN in the environment", off=(None, "", "hf_...", False, True)
    ),
    "use_gradient_checkpointing": Read("`gradient_checkpointing`"),
    "attn_implementation": Idle("Unsloth chooses its own attention"),
    "device_map": Idle("each process of a run takes its own GPU"),
    "rope_scaling": Lost("positions are not stretched", "take a model that reads longer texts"),
    "load_in_fp8": Lost("nothing is trained on 8-bit floats"),
    "qat_scheme": Lost("there is no training with quantization in mind"),
    "resize_model_vocab": Lost("the embeddings grow with `tokens`"),
    "random_state": Idle("`seed` is of the whole run"),
    "fast_inference": _VLLM,
    "gpu_memory_utilization": _VLLM,
    "float8_kv_cache": _VLLM,
    "max_lora_rank": _VLLM,
    "disable_log_stats": _VLLM,
    "unsloth_vllm_standby": _VLLM,
    "fix_tokenizer": _LOADS,
    "use_exact_model_name": _LOADS,
    "offload_embedding": _LOADS,
    "float32_mixed_precision": Lost("number types are those of `bf16` and `fp16`"),
    "device_map_planner_kwargs": _LOADS,
    "unsloth_tiled_mlp": _LOADS,
    "text_only": _LOADS,
    "on_model_resolved": _LOADS,
    "return_logits": _LOADS,
    "fullgraph": _LOADS,
    "auto_model": Lost("models here answer with text"),
    "whisper_language": Lost("rows here are text"),
    "whisper_task": Lost("rows here are text"),
    "unsloth_force_compile": _LOADS,
    "target_parameters": Carry("lora_target_parameters", to.words),
    "model_patcher": _LOADS,
    "tokenizer_revision": Lost("the tokenizer has the model's revision"),
    "num_labels": Lost("models here answer with text"),
    "cache_dir": _LOADS,
    "local_files_only": _LOADS,
    "use_cache": _LOADS,
}
ADAPT: Table = {
    "r": Carry("lora_r", to.whole),
    "target_modules": Read("`lora_target_modules`; all-linear is every linear layer, which unset means here"),
    "lora_alpha": Carry("lora_alpha", to.whole),
    "lora_dropout": Carry("lora_dropout", to.number),
    "bias": Only(("none", None), "biases stay as they are"),
    "layers_to_transform": Carry("peft_layers_to_transform"),
    "layers_pattern": Carry("peft_layers_pattern", to.words),
    "use_gradient_checkpointing": Read("`gradient_checkpointing`"),
    "random_state": Idle("`seed` is of the whole run, the adapter's first values included"),
    "max_seq_length": Read("`sequence_len`, where the trainer says nothing else"),
    "use_rslora": Carry("peft_use_rslora", to.flag, off=(None, False)),
    "use_dora": Carry("peft_use_dora", to.flag, off=(None, False)),
    "modules_to_save": Carry("lora_modules_to_save", to.words, off=(None, [])),
    "init_lora_weights": Carry("peft_init_lora_weights", off=(None, True)),
    "loftq_config": Read("`peft: {loftq_config: …}`"),
    "target_parameters": Carry("lora_target_parameters", to.words),
    "ensure_weight_tying": Carry("peft_ensure_weight_tying", to.flag, off=(None, False)),
    "finetune_last_n_layers": Lost("layers are chosen by number", "peft_layers_to_transform"),
    "temporary_location": _LOADS,
    "qat_scheme": Lost("there is no training with quantization in mind"),
    "offload_layers": _LOADS,
    "checkpoint_skip_layers": _LOADS,
    "task_type": Idle("the method says it"),
    "finetune_vision_layers": Only((False, None), "rows here are text, so only the text model is trained"),
    "finetune_audio_layers": Only((False, None), "rows here are text, so only the text model is trained"),
    "finetune_language_layers": Only((True, None), _PARTS),
    "finetune_attention_modules": Only((True, None), _PARTS),
    "finetune_mlp_modules": Only((True, None), _PARTS),
}
TEMPLATE: Table = {
    "tokenizer": Idle("the model's own"),
    "chat_template": Read("`chat_template`"),
    "mapping": Read("`message_property_mappings` and `roles`"),
    "map_eos_token": Idle("the token that ends a turn is found by rendering one"),
    "system_message": Carry("default_system_message", to.text),
    "patch_saving": Idle("the tokenizer is saved with its template"),
    "use_zoo_tokenizer_patch": Idle("the token that ends a turn is found by rendering one"),
}
RESPONSES: Table = {
    "trainer": Idle("the trainer"),
    "instruction_part": Idle("where questions begin is found by rendering, not by their marks"),
    "response_part": Idle("where answers begin is found by rendering, not by their marks"),
    "force_match": Idle("there are no marks to match"),
    "tokenizer": Idle("the model's own"),
    "return_function": Idle("labels are made before training"),
    "num_proc": Carry("dataset_num_proc", to.whole),
    "last_response_only": Read("`multiturn: last`"),
    "mask_out_tokens": Lost("no single tokens are left unlearned"),
}
ADAPT_DEFAULTS: Mapping[str, Any] = {"lora_r": 16, "lora_alpha": 16, "lora_dropout": 0.0}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DEFAULTS: Mapping[str, Any] = {
    "micro_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 5e-5,
    "warmup_ratio": 0.1,
    "optimizer": "adamw_8bit",
    "weight_decay": 0.001,
    "seed": 3407,
    "logging_steps": 1,
    "torch_empty_cache_steps": 250,
}
"""What a TRL configuration does where nothing is written, once Unsloth has been imported."""
MODELS = ("FastLanguageModel", "FastModel", "FastVisionModel", "FastTextModel", "FastLlamaModel", "FastMistralModel",
          "FastGemmaModel", "FastQwen2Model", "FastQwen3Model", "FastBaseModel")  # fmt: skip
"""Classes of Unsloth with `from_pretrained` and `get_peft_model`."""
