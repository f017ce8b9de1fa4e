"""Keys that Axolotl recipes hold and this program does not honour yet. Off, they are accepted; on, refused by name."""

RECIPE_KEYS = frozenset(
    """
    accelerator_config activation_offloading adam_eps auto_find_batch_size auto_resume_from_checkpoints
    base_model_config batch_size bfloat16 bnb_4bit_compute_dtype bnb_4bit_quant_type bnb_4bit_use_double_quant
    bnb_config_kwargs center_rewards_coefficient chat_template_kwargs cls_model_config codecarbon_dir
    comet_project_name context_parallel_size cosine_constant_lr_ratio cosine_min_lr_ratio curriculum_sampling
    cut_cross_entropy data_seed dataloader_persistent_workers dataloader_prefetch_factor
    dataset_exact_deduplication dataset_keep_in_memory dataset_num_proc dataset_preload dataset_prepared_path
    dataset_processes dataset_shard_num ddp ddp_find_unused_parameters ddp_timeout debug deepspeed
    deepspeed_config default_system_message device_map diffusion do_causal_lm_eval do_eval dp_replicate_size
    dp_shard_size dpo_beta dsv4_fp4_grouped_mode eaft_alpha eaft_k early_stopping_patience ebft embedding_lr
    eot_tokens eta_min eval_causal_lm_metrics eval_max_new_tokens eval_sample_packing eval_sequence_len
    eval_table_max_new_tokens eval_table_size experimental_skip_move_to_device expert_parallel_num_nvl_bytes
    expert_parallel_size expert_parallel_token_capacity experts_implementation flash_attn_cross_entropy
    flash_attn_fuse_mlp flash_attn_fuse_qkv flash_attn_rms_norm flash_optimum flex_attention
    flex_attn_compile_kwargs float16 fp8 fp8_enable_fsdp_float8_all_gather freeze_mm_modules fsdp fsdp_config
    fsdp_version full_finetune fused_attn_kernel gc_steps gemma4_hybrid_attn_impl generate_samples gptq
    gptq_disable_exllama gptq_groupsize gptq_model_v1 gpu_memory_limit hf_use_auth_token hub_model_id
    hub_private_repo hub_save_adapter hub_save_merged hub_strategy include_tokens_per_second
    is_falcon_derived_model is_llama_derived_model is_mistral_derived_model is_qwen_derived_model
    jagged_restart_anneal_steps jagged_restart_steps jagged_restart_warmup_steps kto_desirable_weight
    liger_fused_linear_cross_entropy liger_glu_activation liger_layer_norm liger_rms_norm liger_rms_norm_gated
    liger_rope liger_swiglu lisa_layers_attribute lisa_n_layers lisa_step_interval llama4_linearized_experts
    llmcompressor load_best_model_at_end local_rank loftq lora_fan_in_fan_out lora_mlp_kernel lora_model_dir
    lora_modules_to_save lora_o_kernel lora_qkv_kernel lora_target_parameters loraplus_lr_embedding
    loraplus_lr_ratio loss_watchdog_patience loss_watchdog_threshold low_cpu_mem_usage lr_quadratic_warmup
    lr_scheduler_kwargs max_memory max_packed_sequence_len merge_adapter merge_lora metric_for_best_model
    min_sample_len mlflow_experiment_name mlflow_tracking_uri model_config model_init_kwargs
    model_quantization_config model_quantization_config_kwargs neftune_noise_alpha noisy_embedding_alpha
    num_generation_samples num_labels nvfp4_merge_aware optim_args orpo_alpha otel_metrics_host
    otel_metrics_port padding_side peft peft_init_lora_weights peft_layer_replication peft_layers_to_transform
    peft_use_dora plugins pretrain_multipack_attn pretraining_dataset process_reward_model processor_type
    profiler_steps push_adapter_to_hub push_dataset_to_hub push_hub push_to_hub qat quantization_config
    quantize_moe_experts ray_num_workers reinit_weights relora relora_cpu_offload relora_prune_ratio
    remove_unused_columns report_to resize_token_embeddings_to_32x resume_from_checkpoint reward_model rl
    rl_adapter_ref_model rl_beta s2_attention sample_packing_bin_size sample_packing_eff_est
    sample_packing_group_size sample_packing_seq_len_multiplier sample_packing_sequentially save_first_step
    save_only_model save_safetensors sequence_parallel_degree shuffle_merged_datasets skip_prepare_dataset
    standard_attention streaming streaming_multipack_buffer_size strict swanlab_completion_log_interval
    swanlab_completion_max_buffer swanlab_description swanlab_experiment_name swanlab_log_completions
    swanlab_log_model swanlab_mode swanlab_project swanlab_workspace tensor_parallel_size tiled_mlp
    tokenizer_config tokenizer_legacy tokenizer_use_fast tokenizer_use_mistral_common tokens torch_compile
    torch_compile_mode torch_dtype torchdistx_path total_num_tokens track_carbon_emissions
    trackio_project_name trackio_run_name trackio_space_id train_on_eos trl unfrozen_parameters use_comet
    use_dsv4_kernels use_eaft use_glm_dsa_kernels use_kernels use_mlflow use_onebitllms use_otel_metrics
    use_ray use_scattermoe use_sonicmoe use_swanlab use_wandb vllm wandb_log_model wandb_mode wandb_run_id
    wandb_run_name wandb_watch xformers_attention
    """.split()
)

DATASET_KEYS = frozenset(
    """
    chat_template chat_template_jinja conversation data_files drop_system_message eot_tokens field
    field_chosen field_completion field_human field_input field_instruction field_model field_output
    field_prompt field_rejected field_system field_thinking field_tools input_format input_transform
    max_completion_length message_field_training message_field_training_detail preprocess_shards
    roles_to_train shards step_separator system_prompt template_thinking_key train_on_eos train_on_eot
    train_on_last_step_only train_on_split weight
    """.split()
)

# What to write or know instead, where there is something better to say than "not yet".
ADVICE = {
    "rl": "only supervised fine-tuning is supported so far",
    "early_stopping_patience": "early stopping is not supported yet",
    "resume_from_checkpoint": "resuming is not supported yet",
    "auto_resume_from_checkpoints": "resuming is not supported yet",
    "deepspeed": "one GPU is supported so far",
    "fsdp": "one GPU is supported so far",
    "fsdp_config": "one GPU is supported so far",
    "fsdp_version": "one GPU is supported so far",
    "plugins": "plugins are not loaded here",
    "gptq": "GPTQ checkpoints are not supported yet; use load_in_4bit with a 16-bit model",
    "pretraining_dataset": "continued pretraining is not supported yet",
    "xformers_attention": "attention is chosen with attn_implementation (auto takes PyTorch's own)",
    "torch_dtype": "the number type is chosen with bf16 and fp16",
    "conversation": "the template is chosen by chat_template",
    "chat_template": "one chat_template for all datasets: write it at the top level",
}


def is_off(value: object) -> bool:
    """Whether a value asks for nothing: null, false, an empty text, list or mapping."""
    return value is None or value is False or value in ("", [], {})


def refusal(key: str) -> str:
    reason = ADVICE.get(key, "it is not honoured here yet")
    return f"`{key}` is a key that Axolotl knows, but {reason}. Remove it, or leave it empty"
