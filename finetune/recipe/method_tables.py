"""Methods, the rows they learn from, and the keys that count with each. Only tables."""

from collections.abc import Mapping
from typing import get_args

from finetune.recipe.row_types import JudgedForm, PairForm, PromptForm
from finetune.recipe.rows import Form

KIND_OF = {
    "sft": "rows",
    **dict.fromkeys(("dpo", "ipo", "orpo", "simpo", "cpo", "reward"), "pair"),
    "kto": "judged",
    **dict.fromkeys(("grpo", "gdpo", "rloo"), "prompt"),
}
"""Method -> what a row of its data is."""
TYPES = {
    "rows": frozenset(get_args(Form)),
    "pair": frozenset(get_args(PairForm)),
    "judged": frozenset(get_args(JudgedForm)),
    "prompt": frozenset(get_args(PromptForm)),
}
LEARNS = {
    "rows": "learns from answers to imitate",
    "pair": "learns from pairs of a chosen and a rejected answer",
    "judged": "learns from single answers that are good or bad",
    "prompt": "learns from questions, whose answers it makes and has rewarded itself",
}
OFFERS = {
    "rows": "type: chat_template, or alpaca or completion, or your columns as a mapping",
    "pair": "type: chat_template (messages or prompt, chosen, rejected), or chatml.intel and its like",
    "judged": "type: chat_template (prompt, completion, label), or chatml.argilla and its like",
    "prompt": "type: chat_template (messages or prompt)",
}
ASKS = {"rows": "remove rl", "pair": "write rl: dpo", "judged": "write rl: kto", "prompt": "write rl: grpo"}
_DPO = ("dpo",)
OWN: Mapping[str, tuple[str, ...]] = {
    "rl_beta": ("dpo", "ipo", "orpo", "simpo", "cpo", "kto", "grpo", "gdpo", "rloo"),
    "dpo_loss_type": _DPO,
    "dpo_loss_weights": _DPO,
    "dpo_label_smoothing": _DPO,
    "dpo_use_weighting": _DPO,
    "dpo_use_liger_kernel": ("dpo", "ipo"),
    "rpo_alpha": _DPO,
    "precompute_ref_log_probs": ("dpo", "ipo", "kto"),
    "max_prompt_len": ("dpo", "ipo", "orpo", "simpo", "cpo", "kto", "reward", "grpo", "gdpo", "rloo"),
    "orpo_alpha": ("orpo",),
    "simpo_gamma": ("simpo",),
    "cpo_alpha": ("simpo", "cpo"),
    "kto_desirable_weight": ("kto",),
    "kto_undesirable_weight": ("kto",),
    "center_rewards_coefficient": ("reward",),
    "trl": ("grpo", "gdpo", "rloo"),
}
"""Key -> the methods with which it counts."""
ONE_ANSWER = "of a row only the answer counts that is compared or judged, with its end token"
_PADDED = "its rows are padded, and its loss compares or scores whole answers"
_ALONE = "each row is computed by itself"
_LIGER = (
    "TRL's switch for Liger changes the loss of this method itself; `dpo_use_liger_kernel` is honoured with rl: dpo"
)
_ORDER = "the trainer of this method draws rows in an order of its own"
NOT_FOR_ANSWERS: Mapping[str, str] = {
    **dict.fromkeys(("sample_packing", "eval_sample_packing"), _ALONE),
    **dict.fromkeys(("batch_flattening", "tokens_per_pass", "cut_cross_entropy", "cuda_graphs"), _PADDED),
    **dict.fromkeys(("train_on_inputs", "roles_to_train", "train_on_eos", "train_on_eot", "multiturn"), ONE_ANSWER),
    "text_chunks": "there is no plain text to cut",
    **dict.fromkeys(
        ("do_causal_lm_eval", "eval_causal_lm_metrics", "eval_table_size"),
        "generated answers are scored beside those of rows to imitate",
    ),
    "group_by_length": _ORDER,
    **dict.fromkeys(
        (
            "liger_rope",
            "liger_rms_norm",
            "liger_layer_norm",
            "liger_glu_activation",
            "liger_cross_entropy",
            "liger_fused_linear_cross_entropy",
        ),
        _LIGER,
    ),
}
"""Key -> why no method but fine-tuning honours it."""
NO_OFFLOADING = ("orpo", "cpo", "simpo", "grpo", "gdpo", "rloo")
"""Methods whose configuration of TRL has no `activation_offloading`."""
_OFFLOADING = "TRL's trainer of this method cannot offload; gradient_checkpointing: true saves memory too"
_LONGEST = "TRL pads a batch of this method to its longest row"
_NO_ANSWERS = "a reward model scores answers and writes none"
NOT_FOR: Mapping[str, Mapping[str, str]] = {
    "reward": dict.fromkeys(
        (
            "sample_prompts",
            "generate_samples",
            "generation_max_new_tokens",
            "generation_temperature",
            "generation_top_p",
            "generation_top_k",
            "generation_min_p",
        ),
        _NO_ANSWERS,
    )
    | {"unfrozen_parameters": "the head that scores is new, and would stay as it was made"},
    **{method: {"activation_offloading": _OFFLOADING} for method in NO_OFFLOADING},
    **{
        method: {"activation_offloading": _OFFLOADING, "pad_to_sequence_len": _LONGEST}
        for method in ("orpo", "cpo", "simpo")
    },
    "prompt": {
        "pad_to_sequence_len": "answers are as long as the model makes them",
        "excess_length_strategy": "a question that is too long is left out, and counted",
    },
}
"""Method or kind -> key -> why it is not honoured there."""
ENTRY_LABELS = (
    "roles_to_train",
    "train_on_eos",
    "train_on_eot",
    "message_field_training",
    "message_field_training_detail",
)
COLUMNS = {
    "field_prompt": ("pair", "judged", "prompt", "rows"),
    "field_chosen": ("pair",),
    "field_rejected": ("pair",),
    "field_completion": ("judged", "rows"),
    "field_label": ("judged",),
}
"""Key of an entry -> the kinds of rows that have such a column; rows to imitate as `type: question_answer` alone."""
FORMAT_KEYS = {
    "rows": "field_instruction field_input field_output field_system format no_input_format system_prompt "
    "system_format as_turns",
    "pair": "field_prompt field_system field_chosen field_rejected prompt_format chosen_format rejected_format",
    "judged": "field_prompt field_system field_completion field_label prompt_format completion_format",
    "prompt": "",
}
GRPO_ONLY = (
    "loss_type",
    "scale_rewards",
    "importance_sampling_level",
    "multi_objective_aggregation",
    "off_policy_mask_threshold",
)
RLOO_ONLY = ("normalize_advantages", "reward_clip_range")
