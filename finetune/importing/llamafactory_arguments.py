"""LLaMA-Factory's arguments -> keys: those that it has beside transformers' TrainingArguments. Tables alone.

For LLaMA-Factory 0.9.6.dev0 (August 2026); every argument of its parser for training is here."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.rules import Carry, Idle, Lost, Only, Read, Rule

_IMAGES = Idle("rows here are text, without images, videos or sound")
_ANSWERING = Idle("how it answers afterwards; `finetune chat` and `finetune serve` have their own")
_EXPORT = Idle("of exporting, which `finetune merge` and `finetune export` do")
_PPO = Idle("of PPO")
_TOKEN = Lost("a recipe holds no secrets", "set the hub's variable in the environment", off=(None, ""))
_BADAM = Idle("of use_badam")
_SHOWN = Idle("what is shown or measured beside training")
_GALORE = Read("`optimizer: galore_adamw` with optim_args and optim_target_modules")
_APOLLO = Read("`optimizer: apollo_adamw` with optim_args and optim_target_modules")
_OFT = Idle("of finetuning_type: oft")
_KT = Idle("of use_kt")

MODEL: dict[str, Rule] = {
    "model_name_or_path": Carry("base_model", to.text),
    "adapter_name_or_path": Read("`lora_model_dir`; several adapters have no counterpart"),
    "adapter_folder": Lost("an adapter's folder is named whole"),
    "cache_dir": Idle("where downloads are kept: HF_HOME"),
    "use_fast_tokenizer": Only((True,), "the fast tokenizer is used"),
    "resize_vocab": Idle("the embeddings grow with new tokens"),
    "split_special_tokens": Read("`special_tokens_in_content: text`"),
    "add_tokens": Carry("tokens", to.words),
    "add_special_tokens": Carry("special_tokens.additional_special_tokens", to.words),
    "new_special_tokens_config": Lost("new tokens begin at random or at the mean", "mean_resizing_embeddings"),
    "init_special_tokens": Only(("noise_init",), "new tokens begin at random", "mean_resizing_embeddings"),
    "model_revision": Carry("revision_of_model", to.text, off=(None, "main")),
    "low_cpu_mem_usage": Idle("how weights are loaded"),
    "rope_scaling": Lost("positions are not stretched", "take a model that reads longer texts"),
    "flash_attn": Read("`attn_implementation`: fa2, fa3, sdpa, disabled"),
    "shift_attn": Lost("attention is not shifted"),
    "mixture_of_depths": Lost("layers are not skipped"),
    "use_unsloth": Read("`backend: unsloth`"),
    "use_unsloth_gc": Read("`gradient_checkpointing: unsloth`"),
    "enable_liger_kernel": Read("the liger_ keys"),
    "moe_aux_loss_coef": Lost("the loss of a mixture's routers counts as the model's own configuration says"),
    "disable_gradient_checkpointing": Read("`gradient_checkpointing`, which is on there unless this says otherwise"),
    "use_reentrant_gc": Read("`gradient_checkpointing_kwargs`; there it is on unless this says otherwise"),
    "upcast_layernorm": Idle("layer norms of quantized models are computed in 32 bits"),
    "upcast_lmhead_output": Idle("the loss is computed in 32 bits"),
    "train_from_scratch": Lost("a model's weights are always loaded"),
    "trust_remote_code": Carry("trust_remote_code", to.flag, off=(None, False)),
    "print_param_status": _SHOWN,
    "quantization_bit": Read("`load_in_4bit` or `load_in_8bit`"),
    "quantization_method": Read("bnb (or bitsandbytes) alone"),
    "quantization_type": Read("`bnb_config_kwargs.bnb_4bit_quant_type`"),
    "double_quantization": Read("`bnb_config_kwargs.bnb_4bit_use_double_quant`"),
    "quantization_device_map": Lost("quantized weights are on the run's own GPU"),
    "use_v1_kernels": Idle("how it is computed"),
    "use_kt": Lost("experts are not computed on the CPU"),
    **dict.fromkeys(
        "kt_cpu_activation kt_weight_path kt_non_expert_weight_path kt_expert_checkpoint_path kt_use_lora_experts "
        "kt_lora_expert_num kt_lora_expert_intermediate_size".split(),
        _KT,
    ),
    **dict.fromkeys(
        "image_max_pixels image_min_pixels image_do_pan_and_scan crop_to_patches video_max_pixels video_min_pixels "
        "video_fps video_maxlen use_audio_in_video audio_sampling_rate media_dir freeze_vision_tower "
        "freeze_multi_modal_projector freeze_language_model".split(),
        _IMAGES,
    ),
    **dict.fromkeys(
        "infer_backend infer_dtype offload_folder use_kv_cache vllm_maxlen vllm_gpu_util vllm_enforce_eager "
        "vllm_max_lora_rank vllm_config sglang_maxlen sglang_mem_fraction sglang_tp_size sglang_config "
        "sglang_lora_backend do_sample num_beams max_length length_penalty skip_special_tokens".split(),
        _ANSWERING,
    ),
    "temperature": Carry("generation_temperature", to.number),
    "top_p": Carry("generation_top_p", to.number),
    "top_k": Carry("generation_top_k", to.whole, off=(None, 0)),
    "max_new_tokens": Carry("generation_max_new_tokens", to.whole),
    "repetition_penalty": Carry("generation_repetition_penalty", to.number),
    **dict.fromkeys(
        "export_dir export_size export_device export_quantization_bit export_quantization_dataset "
        "export_quantization_nsamples export_quantization_maxlen export_legacy_format export_hub_model_id".split(),
        _EXPORT,
    ),
    "hf_hub_token": _TOKEN,
    "ms_hub_token": _TOKEN,
    "om_hub_token": _TOKEN,
}
DATA: dict[str, Rule] = {
    "template": Read("`chat_template`"),
    "dataset": Read("`datasets`, each as dataset_info.json has it"),
    "eval_dataset": Read("`test_datasets`"),
    "dataset_dir": Read("where dataset_info.json is looked for"),
    "cutoff_len": Carry("sequence_len", to.whole),
    "train_on_prompt": Carry("train_on_inputs", to.flag),
    "mask_history": Read("`multiturn: last`"),
    "streaming": Carry("streaming", to.flag, off=(None, False)),
    "buffer_size": Idle("of streaming"),
    "mix_strategy": Only(
        ("concat",), "sources are joined and shuffled", "`weight` of an entry says how often it counts"
    ),
    "interleave_probs": Lost(
        "sources are joined, not drawn from by chance", "`weight` of an entry says how often it counts"
    ),
    "overwrite_cache": Idle("prepared data are kept by their content"),
    "preprocessing_batch_size": Idle("how rows are tokenized"),
    "preprocessing_num_workers": Carry("dataset_num_proc", lambda value: min(to.whole(value), 64)),
    "max_samples": Read("`split: train[:N]` of every entry"),
    "eval_num_beams": Lost("answers that are scored are not found by beams"),
    "ignore_pad_token_for_loss": Only((True,), "padding is never learned"),
    "val_size": Carry("val_set_size", to.number, off=(None, 0, 0.0)),
    "eval_on_each_dataset": Lost("validation sources are measured together"),
    "packing": Read("`sample_packing`; on in pretraining unless this says otherwise"),
    "neat_packing": Read("`sample_packing`, in which rows never see each other"),
    "tool_format": Lost("the chat template writes tools", off=(None, "default")),
    "default_system": Carry("default_system_message", to.text),
    "enable_thinking": Read("only beside a template of a reasoning model"),
    "preserve_thinking": Lost("`multiturn: explode` learns each answer with its thought", ""),
    "tokenized_path": Idle("prepared data are kept by their content; see dataset_prepared_path"),
    "data_shared_file_system": Idle("where several machines keep data"),
}
METHOD: dict[str, Rule] = {
    "stage": Read("the method: `rl`, `reward_model` or plain text"),
    "finetuning_type": Read("`adapter`"),
    "lora_rank": Carry("lora_r", to.whole),
    "lora_alpha": Carry("lora_alpha", to.whole),
    "lora_dropout": Carry("lora_dropout", to.number),
    "lora_target": Read("`lora_target_modules`; all is every linear layer, which unset means here"),
    "additional_target": Carry("lora_modules_to_save", to.words),
    "loraplus_lr_ratio": Carry("loraplus_lr_ratio", to.number),
    "loraplus_lr_embedding": Carry("loraplus_lr_embedding", to.number, off=(None, 1e-6)),
    "use_rslora": Carry("peft_use_rslora", to.flag, off=(None, False)),
    "use_dora": Carry("peft_use_dora", to.flag, off=(None, False)),
    "pissa_init": Read("`peft_init_lora_weights: pissa`"),
    "pissa_iter": Read("`peft_init_lora_weights: pissa_niter_N`"),
    "pissa_convert": Idle("the adapter is saved so that it fits the base model as it is"),
    "create_new_adapter": Lost("an adapter is gone on from, or merged first", "finetune merge"),
    "module_dropout": _OFT,
    "oft_rank": _OFT,
    "oft_block_size": _OFT,
    "oft_target": _OFT,
    "freeze_trainable_layers": Read("`unfrozen_parameters` would say it, by name"),
    "freeze_trainable_modules": Read("`unfrozen_parameters` would say it, by name"),
    "freeze_extra_modules": Read("`unfrozen_parameters` would say it, by name"),
    "pref_beta": Read("`rl_beta`, or `orpo_alpha`"),
    "pref_ftx": Carry("rpo_alpha", to.number, off=(None, 0, 0.0)),
    "pref_bco_weight": Lost("the loss of pairs is not mixed with BCO's", off=(None, 0, 0.0)),
    "pref_loss": Read("`dpo_loss_type`, or `rl: orpo` and `rl: simpo`"),
    "dpo_label_smoothing": Carry("dpo_label_smoothing", to.number, off=(None, 0, 0.0)),
    "kto_chosen_weight": Carry("kto_desirable_weight", to.number),
    "kto_rejected_weight": Carry("kto_undesirable_weight", to.number),
    "simpo_gamma": Read("`simpo_gamma`, with pref_loss: simpo"),
    "ld_alpha": Lost("answers are not weighed by their length"),
    "ref_model": Lost("the reference is the model as it began"),
    "ref_model_adapters": Lost("the reference is the model as it began"),
    "ref_model_quantization_bit": Lost("the reference is quantized as the model is"),
    "reward_model": _PPO,
    **dict.fromkeys(
        "reward_model_adapters reward_model_quantization_bit reward_model_type ppo_buffer_size ppo_epochs "
        "ppo_score_norm ppo_target ppo_whiten_rewards".split(),
        _PPO,
    ),
    **{f"galore_{name}": _GALORE for name in "target rank update_interval scale proj_type".split()},
    "use_galore": _GALORE,
    "galore_layerwise": Lost("weights are not changed inside the backward pass"),
    **{f"apollo_{name}": _APOLLO for name in "target rank update_interval scale proj proj_type scale_type".split()},
    "use_apollo": _APOLLO,
    "apollo_layerwise": Lost("weights are not changed inside the backward pass"),
    "apollo_scale_front": Lost("APOLLO scales behind its limiter", off=(None, False)),
    "use_badam": Lost("there is no BAdam", "`optimizer: adamw_8bit` or apollo_adamw save memory too"),
    **{
        f"badam_{name}": _BADAM
        for name in "mode start_block switch_mode switch_interval update_ratio mask_mode verbose".split()
    },
    "use_adam_mini": Lost("there is no Adam-mini", "`optimizer: adamw_8bit` saves memory too"),
    "use_muon": Read("`optimizer: muon`"),
    "use_llama_pro": Lost("no blocks are added"),
    "use_dft_loss": Lost("the loss is cross-entropy"),
    "use_asft_loss": Lost("the loss is cross-entropy"),
    "asft_alpha": Idle("of use_asft_loss"),
    "use_eaft_loss": Lost("the loss is cross-entropy"),
    "eaft_alpha": Idle("of use_eaft_loss"),
    "pure_bf16": Read("`bf16: true`, with weights that are trained in 16 bits there"),
    "use_mca": Lost("Megatron is not used", "docs/many_gpus.md"),
    "use_megatron_bridge": Lost("Megatron is not used", "docs/many_gpus.md"),
    "use_hyper_parallel": Lost("HyperParallel is not used", "docs/many_gpus.md"),
    "hyper_parallel_args": Idle("of use_hyper_parallel"),
    "hyper_parallel_cp_size": Idle("of use_hyper_parallel"),
    "compute_accuracy": _SHOWN,
    "disable_shuffling": Carry("curriculum_sampling", to.flag, off=(None, False)),
    "early_stopping_steps": Carry("early_stopping_patience", to.whole),
    "plot_loss": Idle("`finetune report` draws the curves of every run"),
    "include_effective_tokens_per_second": _SHOWN,
    "use_swanlab": Carry("use_swanlab", to.flag, off=(None, False)),
    "swanlab_project": Read("`swanlab_project`, with use_swanlab"),
    "swanlab_workspace": Read("`swanlab_workspace`, with use_swanlab"),
    "swanlab_run_name": Read("`swanlab_experiment_name`, with use_swanlab"),
    "swanlab_mode": Read("`swanlab_mode`, with use_swanlab"),
    "swanlab_api_key": _TOKEN,
    "swanlab_logdir": Idle("SwanLab keeps the run in the run folder"),
    "swanlab_lark_webhook_url": _TOKEN,
    "swanlab_lark_secret": _TOKEN,
    "fp8": Lost("nothing is computed in 8-bit floats"),
    "fp8_backend": Idle("of fp8"),
    "fp8_enable_fsdp_float8_all_gather": Idle("of fp8"),
    **{
        name: Idle("Ray starts no runs here")
        for name in (
            "ray_run_name ray_storage_path ray_storage_filesystem resources_per_worker placement_strategy "
            "ray_num_workers ray_init_kwargs master_addr master_port"
        ).split()
    },
    **dict.fromkeys(
        "enable_torch_profiler profiler_output_dir profiler_wait_steps profiler_warmup_steps profiler_active_steps "
        "profiler_repeat profiler_record_shapes profiler_profile_memory profiler_with_stack profile_modules".split(),
        _SHOWN,
    ),
}
TABLE: dict[str, Rule] = {**MODEL, **DATA, **METHOD}

LORA_DEFAULTS: Mapping[str, Any] = {"lora_r": 8, "lora_dropout": 0.0}
