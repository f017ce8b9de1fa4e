"""Keys that Axolotl knows and that are accepted without effect, since the trained result cannot hang on them. Only the
tables: key -> the values that are accepted, and why nothing hangs on them."""

from collections.abc import Mapping
from typing import Any

ANY = object()
"""Every value of the key is accepted."""

WAIVED: Mapping[str, tuple[Any, str]] = {
    "dataset_keep_in_memory": (ANY, "prepared rows are read memory-mapped, and stay in memory where there is room"),
    "shuffle_merged_datasets": (ANY, "the trainer draws the rows in a new order each epoch"),
    "sample_packing_eff_est": (ANY, "packing looks at all rows and needs no estimate"),
    "sample_packing_group_size": (ANY, "packing looks at all rows at once"),
    "sample_packing_bin_size": (ANY, "packing puts as many rows together as fit"),
    "sample_packing_seq_len_multiplier": (ANY, "packing fills rows of sequence_len"),
    "sample_packing_mp_start_method": (ANY, "packing runs in one process"),
    "streaming_multipack_buffer_size": (ANY, "packing looks at all rows that the steps need, and needs no buffer"),
    "pretrain_multipack_buffer_size": (ANY, "packing looks at all rows that the steps need, and needs no buffer"),
    "pretrain_multipack_attn": ((True,), "documents packed into one row never attend to each other"),
    "remove_unused_columns": (ANY, "the trainer is handed finished columns"),
    "strict": (ANY, "every recipe is checked strictly"),
    "save_safetensors": (ANY, "weights are always saved as safetensors"),
    "hf_use_auth_token": ((True,), "the hub's token is taken from HF_TOKEN or `hf auth login`"),
    "low_cpu_mem_usage": ((True,), "weights are always loaded so"),
    "tokenizer_use_fast": ((True,), "the fast tokenizer is the only one there is"),
    "tokenizer_save_jinja_files": (ANY, "the template is always saved with the tokenizer"),
    "experimental_skip_move_to_device": (ANY, "weights are loaded where they are used"),
    "include_tokens_per_second": (ANY, "tokens per second are always shown"),
    "include_tkps": (ANY, "tokens per second are always shown"),
    "is_llama_derived_model": (ANY, "the architecture is read from the model's config.json"),
    "is_mistral_derived_model": (ANY, "the architecture is read from the model's config.json"),
    "is_falcon_derived_model": (ANY, "the architecture is read from the model's config.json"),
    "is_qwen_derived_model": (ANY, "the architecture is read from the model's config.json"),
    "model_config_type": (ANY, "the architecture is read from the model's config.json"),
    "local_rank": (ANY, "the launcher says it to each process"),
    "lora_mlp_kernel": (ANY, "a faster kernel with the same result; lora_kernels is on unless it is switched off"),
    "lora_qkv_kernel": (ANY, "a faster kernel with the same result; lora_kernels is on unless it is switched off"),
    "lora_o_kernel": (ANY, "a faster kernel with the same result; lora_kernels is on unless it is switched off"),
    "lora_embedding_kernel": (ANY, "a faster kernel with the same result; backend: unsloth brings its own"),
    "flash_attn_cross_entropy": (ANY, "a faster kernel with the same result; liger_cross_entropy is honoured"),
    "flash_attn_rms_norm": (ANY, "a faster kernel with the same result; liger_rms_norm is honoured"),
    "flash_attn_fuse_mlp": (ANY, "a faster kernel with the same result"),
    "flash_attn_fuse_qkv": (ANY, "a faster kernel with the same result"),
    "fused_attn_kernel": (ANY, "a faster kernel with the same result"),
    "liger_rms_norm_gated": (ANY, "a faster kernel with the same result; liger_rms_norm is honoured"),
    "use_kernels": (ANY, "faster kernels with the same result, fetched from the hub"),
    "flash_optimum": (ANY, "the model's own attention is fast"),
    "gc_collect_steps": (ANY, "Python frees memory by itself; torch_empty_cache_steps is honoured"),
    "pad_to_multiple_of": (ANY, "padding is never learned; pad_to_sequence_len is honoured"),
    "collator_pad_to_longest": (ANY, "a batch is padded to its longest row; pad_to_sequence_len is honoured"),
    "base_model_ignore_patterns": (ANY, "only the files that are needed are downloaded"),
    "merge_method": (ANY, "it counts when an adapter is merged"),
    "gradio_title": (ANY, "it counts for a chat page, not for training"),
    "gradio_share": (ANY, "it counts for a chat page, not for training"),
    "gradio_server_name": (ANY, "it counts for a chat page, not for training"),
    "gradio_server_port": (ANY, "it counts for a chat page, not for training"),
    "gradio_max_new_tokens": (ANY, "it counts for a chat page, not for training"),
    "gradio_temperature": (ANY, "it counts for a chat page, not for training"),
    "hub_strategy": (ANY, "nothing is published while training; `finetune push` publishes the finished run"),
    "hub_private_repo": ((True,), "`finetune push` makes a repository for its owner alone"),
    "gptq": (ANY, "a GPTQ checkpoint says by itself that it is one"),
    "gptq_groupsize": (ANY, "a GPTQ checkpoint says by itself what it is made of"),
    "gptq_model_v1": (ANY, "a GPTQ checkpoint says by itself what it is made of"),
    "gptq_disable_exllama": (ANY, "gptqmodel picks a kernel that can be trained through"),
    "plugins": (
        (
            ["axolotl.integrations.liger.LigerPlugin"],
            ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"],
            ["axolotl.integrations.swanlab.SwanLabPlugin"],
            ["axolotl.integrations.kernels.KernelsPlugin"],
        ),
        "its keys are read without it",
    ),
    "fsdp_final_state_dict_type": (ANY, "what is saved is always whole"),
    "num_labels": ((1,), "a reward is one number"),
    "debug": (ANY, "`finetune plan` shows what a run does"),
}

DATASET_WAIVED: Mapping[str, tuple[Any, str]] = {
    "trust_remote_code": (ANY, "no code of a dataset's repository is ever run"),
}
TRL_WAIVED: Mapping[str, tuple[Any, str]] = {
    "vllm_server_host": (ANY, "answers are generated by the training process itself"),
    "vllm_server_port": (ANY, "answers are generated by the training process itself"),
    "vllm_server_timeout": (ANY, "answers are generated by the training process itself"),
    "reward_num_workers": ((1,), "rewards are computed in the training process"),
    "skip_zero_advantage_batches": (ANY, "it saves time alone"),
    "use_bias_correction_kl": ((True,), "TRL corrects it by itself"),
}
FSDP_WAIVED: Mapping[str, tuple[Any, str]] = {
    "auto_wrap_policy": (("TRANSFORMER_BASED_WRAP",), "the model's layers are gathered one at a time"),
    "state_dict_type": (ANY, "a checkpoint always holds whole weights, so that a run goes on with any number of GPUs"),
    "final_state_dict_type": (ANY, "what is saved is always whole"),
    "backward_prefetch": (ANY, "FSDP2 gathers the next layer's weights ahead by itself"),
    "forward_prefetch": (ANY, "FSDP2 gathers the next layer's weights ahead by itself"),
    "limit_all_gathers": (ANY, "FSDP2 never gathers further ahead than memory is freed"),
    "sync_module_states": (ANY, "FSDP2 deals the first process's weights out"),
    "use_orig_params": (ANY, "FSDP2 always keeps the parameters as they are"),
    "fsdp_version": ((2,), "the key at the top level says so"),
    "version": ((2,), "the key at the top level says so"),
    "cpu_offload_pin_memory": ((True,), "memory that weights are offloaded to is pinned"),
}
