"""Keys that Axolotl knows and this program does not act on, with the reason and what to write instead. Only tables."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Refused:
    """Keys with one reason. `why` follows "`key` is a key that Axolotl knows, but"; `instead` says what to write."""

    why: str
    instead: str
    keys: str


REFUSED = (
    Refused(
        "training on several GPUs is not supported yet",
        "Remove the line to train on one GPU, or leave it empty",
        "deepspeed deepspeed_config deepcompile fsdp fsdp_config fsdp_version fsdp_final_state_dict_type dp_shard_size "
        "dp_replicate_size sequence_parallel_degree context_parallel_size tensor_parallel_size heads_k_stride "
        "context_parallel_degree ring_attn_func use_ray ray_num_workers ray_run_name resources_per_worker "
        "qlora_sharded_model_loading "
        "expert_parallel_size expert_parallel_backend expert_parallel_num_nvl_bytes expert_parallel_num_rdma_bytes "
        "expert_parallel_token_capacity expert_parallel_fallback_on_unsupported accelerator_config world_size",
    ),
    Refused(
        "only supervised fine-tuning is supported so far, no preference, reward or reinforcement method",
        "Remove the line, or keep the recipe for a later version",
        "rl trl vllm ebft rl_beta dpo_beta dpo_use_weighting dpo_label_smoothing dpo_use_liger_kernel dpo_padding_free "
        "dpo_loss_type dpo_loss_weights dpo_use_logits_to_keep dpo_generate_during_eval dpo_norm_loss rpo_alpha "
        "precompute_ref_log_probs orpo_alpha simpo_gamma cpo_alpha kto_desirable_weight kto_undesirable_weight "
        "reward_model process_reward_model center_rewards_coefficient num_labels rl_adapter_ref_model max_prompt_len "
        "nemo_gym_enabled nemo_gym_dir nemo_gym_auto_clone nemo_gym_config_paths nemo_gym_head_port "
        "nemo_gym_server_timeout nemo_gym_verify_timeout nemo_gym_run_timeout nemo_gym_datasets nemo_gym_auto_start "
        "nemo_gym_model_name nemo_gym_multi_turn nemo_gym_max_turns trainer_cls",
    ),
    Refused(
        "publishing to the hub is not supported yet",
        "Remove the line, and publish the finished run with: hf upload ORG/NAME OUTPUT_DIR/adapter",
        "hub_model_id hub_strategy hub_revision hub_private_repo push_to_hub push_hub push_adapter_to_hub "
        "hub_save_adapter hub_save_merged push_dataset_to_hub",
    ),
    Refused(
        "images, audio and video are not trained here",
        "Remove the line to train on text",
        "processor_type processor_kwargs freeze_mm_modules image_size image_resize_algorithm role_boundaries",
    ),
    Refused(
        "diffusion training is not supported",
        "Remove the line",
        "diffusion noise_schedule min_mask_ratio max_mask_ratio num_diffusion_steps importance_weighting "
        "mask_token_id mask_token_str generation_interval generation_steps generation_max_length eps",
    ),
    Refused(
        "distillation is not supported yet",
        "Remove the line",
        "kd_trainer kd_ce_alpha kd_alpha kd_temperature kd_beta kd_normalize_topk kd_online_server_base_url "
        "kd_online_topk kd_online_server kd_online_timeout kd_temperature_min",
    ),
    Refused(
        "training in 8-bit floats or with simulated quantization is not supported",
        "Remove the line; load_in_4bit and load_in_8bit train an adapter on quantized weights",
        "fp8 fp8_enable_fsdp_float8_all_gather qat quantization llmcompressor nvfp4_merge_aware "
        "nvfp4_merge_aware_start_step use_onebitllms "
        "nonexpert_quantization gemma4_fp8_nonexpert gemma4_nf4_nonexpert",
    ),
    Refused(
        "what a GPTQ checkpoint is made of stands in its own config.json",
        "Remove the line; base_model may name such a checkpoint where gptqmodel and optimum are installed",
        "gptq gptq_disable_exllama gptq_groupsize gptq_model_v1 quantization_config",
    ),
    Refused(
        "adapters of this kind are not supported yet",
        "Remove the line for plain LoRA; peft_use_dora and peft_use_rslora are honoured",
        "relora relora_steps relora_warmup_steps relora_anneal_steps relora_prune_ratio relora_prune_method "
        "relora_cpu_offload jagged_restart_steps "
        "jagged_restart_warmup_steps jagged_restart_anneal_steps lisa_n_layers lisa_step_interval "
        "lisa_layers_attribute loftq mora spectrum_top_fraction spectrum_model_name dense_mixer hatchery",
    ),
    Refused(
        "that course of the learning rate is not supported",
        "Choose one with lr_scheduler, lr_scheduler_kwargs and cosine_min_lr_ratio",
        "lr_div_factor log_sweep_min_lr log_sweep_max_lr",
    ),
    Refused(
        "it belongs to an optimizer that is not supported",
        "Remove the line; optimizer lists those there are",
        "dion_lr dion_momentum dion_rank_fraction dion_rank_multiple_of qgalore_rank "
        "qgalore_update_proj_gap qgalore_scale qgalore_proj_type qgalore_proj_quant qgalore_proj_bits "
        "qgalore_proj_group_size qgalore_cos_threshold qgalore_gamma_proj qgalore_queue_size grokfast_alpha "
        "grokfast_lamb torchdistx_path",
    ),
    Refused(
        "a loss other than plain cross-entropy is not supported yet",
        "Remove the line",
        "use_eaft eaft_alpha eaft_k chunked_cross_entropy chunked_cross_entropy_num_chunks "
        "liger_use_token_scaling scaling_softmax scaling_softmax_factor scaling_softmax_bias",
    ),
    Refused(
        "that attention is not supported",
        "Choose one with attn_implementation (auto takes PyTorch's own)",
        "landmark_attention s2_attention sage_attention gemma4_hybrid_attn_impl large_head_attention flash_attn_d512 "
        "sdpa_varlen flex_attn_compile_kwargs",
    ),
    Refused(
        "it changes how the model is built, which is not supported",
        "Change config.json of a local copy of base_model instead",
        "model_config overrides_of_model_config overrides_of_model_kwargs model_init_kwargs cls_model_config "
        "rope_scaling xpos_rope "
        "reinit_weights shrink_embeddings added_tokens_overrides fix_untrained_tokens "
        "llama4_linearized_experts fp32_norms fp32_norm_classes noisy_moe",
    ),
    Refused(
        "kernels for mixtures of experts are not supported",
        "Remove the line",
        "use_scattermoe use_sonicmoe use_dsv4_kernels use_glm_dsa_kernels dsv4_fp4_grouped_mode "
        "dsv4_fp8_nonexpert_mode dsv4_fp8_lora_kernel dsv4_shared_mlp_lora_kernel dsv4_bf16_all "
        "expert_backend moe_grouped_backend moe_dequant_chunk_size moe_bnb_fast "
        "experts_implementation quantize_moe_experts",
    ),
    Refused(
        "that way of saving memory is not supported",
        "gradient_checkpointing: true, activation_offloading: true, a smaller micro_batch_size and load_in_4bit save "
        "memory here",
        "selective_checkpointing layer_offloading tiled_mlp tiled_mlp_num_shards tiled_mlp_use_original_mlp "
        "max_memory gpu_memory_limit lora_on_cpu embeddings_skip_upcast",
    ),
    Refused(
        "the batch must be known before the run, and this changes it while it runs",
        "Choose micro_batch_size; `finetune plan` shows what is planned",
        "auto_find_batch_size multipack_real_batches",
    ),
    Refused(
        "sharding the data for several machines is not supported yet",
        "Remove the line; shards and shards_idx of a dataset take a part of its rows",
        "dataset_shard_num dataset_shard_idx preprocess_iterable skip_prepare_dataset "
        "num_dataset_shards_to_save total_num_tokens total_supervised_tokens",
    ),
    Refused(
        "texts are joined by another key",
        "Write text_chunks: joined",
        "pretraining_sample_concatenation",
    ),
    Refused(
        "one sequence_len holds for all rows",
        "Remove the line",
        "eval_sequence_len",
    ),
    Refused(
        "the order in which rows are packed cannot be set yet",
        "Remove the line; curriculum_sampling: true takes the rows in their order",
        "sample_packing_sequentially",
    ),
    Refused(
        "it is not supported yet for the data",
        "Remove the line, or prepare the rows so beforehand",
        "use_pose pose_split_on_token_ids pose_max_context_len pose_num_chunks",
    ),
    Refused(
        "benchmarks and profiles are not run while training",
        "Remove the line; do_causal_lm_eval scores answers to the validation rows",
        "do_bench_eval bench_dataset bench_split lm_eval_tasks "
        "lm_eval_batch_size lm_eval_post_train lm_eval_model profiler_steps profiler_steps_start use_otel_metrics "
        "otel_metrics_host otel_metrics_port track_carbon_emissions codecarbon_dir",
    ),
    Refused(
        "merging the adapter after training is not supported yet",
        "Remove the line; OUTPUT_DIR/adapter loads with peft",
        "merge_lora merge_adapter",
    ),
    Refused(
        "no code is loaded that a recipe names",
        "Remove the line; the keys of Axolotl's Liger plugin are honoured without it",
        "plugins",
    ),
    Refused(
        "that setting of a tracker is not supported",
        "Remove the line",
        "swanlab_description swanlab_log_completions swanlab_completion_log_interval swanlab_completion_max_buffer "
        "swanlab_log_model swanlab_web_host swanlab_api_host swanlab_lark_webhook_url swanlab_lark_secret "
        "comet_online comet_experiment_config",
    ),
    Refused(
        "it is not honoured here yet",
        "Remove it, or leave it empty",
        "tokenizer_use_mistral_common tokenizer_legacy torch_compile_options ddp "
        "device type_of_model capabilities env_capabilities is_preprocess axolotl_config_path",
    ),
)

DATASET_REFUSED = (
    Refused(
        "it holds for all sources",
        "Write it at the top level of the recipe",
        "eot_tokens train_on_inputs",
    ),
    Refused(
        "only supervised fine-tuning is supported so far",
        "Remove the line, or keep the recipe for a later version",
        "field_chosen field_rejected field_prompt field_completion field_label step_separator max_completion_length "
        "train_on_last_step_only logprobs_field temperature",
    ),
    Refused(
        "it belongs into a prompt format, which is a mapping under `type`",
        "Write it there: type: {field_instruction: question, field_output: answer}",
        "field_input field_instruction field_output system_prompt",
    ),
    Refused(
        "it is not supported yet for a source of data",
        "Remove the line, or prepare the rows so beforehand",
        "field_human field_model input_format input_transform preprocess_shards skip cache_dir overlap_len "
        "prompt_style field_map train_split val_split length sequence_length min_input_id max_input_id",
    ),
)
