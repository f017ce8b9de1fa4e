"""Recipe keys of what is learned from the rows: fine-tuning, preferences, a reward model, or answers that are rewarded.
Knows no trainer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Section, Whole

Loss = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
_DPO = {"rl": "dpo"}
Share = Annotated[Number, Field(ge=0, le=1)]


class TrlConfig(Section):
    """Keys of methods that reward the model's own answers (`rl: grpo`, `gdpo`, `rloo`)."""

    reward_funcs: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(min_length=1, examples=[["rewards.py:short"], ["outputs/reward"]]),
        Reaches("train"),
    ] = None
    """What rewards an answer: `FILE.py:NAME`, a function in a file beside the recipe (or anywhere, with the beginning
    of its sha256 behind it: `/lib/rewards.py:short@1f3a...`), or a reward model: a run folder or a hub id."""
    reward_weights: Annotated[list[Number] | None, Field(min_length=1, examples=[[1.0], [0.5]]), Reaches("train")] = (
        None
    )
    """How much each of reward_funcs counts. Unset: all the same."""
    num_generations: Annotated[Whole | None, Field(ge=2, examples=[4, 8]), Reaches("train")] = None
    """Answers to each question, which are compared with each other. Unset: 8, with rl: rloo 2."""
    num_generations_eval: Annotated[Whole | None, Field(ge=1, examples=[2, 4]), Reaches("train")] = None
    """The same while validating. Unset: as num_generations."""
    max_completion_length: Annotated[Whole | None, Field(ge=1, examples=[128, 256]), Reaches("format", "train")] = None
    """Tokens of an answer at most; a question has what is left of sequence_len. Unset: 512."""
    generation_batch_size: Annotated[Whole | None, Field(ge=2, examples=[16, 32]), Reaches("train")] = None
    """Answers that are generated at a time. Unset: those of one optimizer step."""
    temperature: Annotated[Number | None, Field(gt=0, examples=[0.8, 1.2]), Reaches("train")] = None
    """How varied the answers are that are rewarded. Unset: 1."""
    top_p: Annotated[Number | None, Field(gt=0, le=1, examples=[0.9, 0.95]), Reaches("train")] = None
    """Sample among the most likely tokens that together have this probability. Unset: 1."""
    top_k: Annotated[Whole | None, Field(ge=0, examples=[50, 20]), Reaches("train")] = None
    """Sample among this many most likely tokens; 0 or unset: all."""
    min_p: Annotated[Number | None, Field(ge=0, le=1, examples=[0.1, 0.05]), Reaches("train")] = None
    """Sample among tokens at least this share as likely as the likeliest."""
    repetition_penalty: Annotated[Number | None, Field(gt=0, examples=[1.1, 1.2]), Reaches("train")] = None
    """Above 1: tokens that were there before become less likely. Unset: 1."""
    generation_kwargs: Annotated[
        dict[str, Any] | None, Field(examples=[{"no_repeat_ngram_size": 3}, {"length_penalty": 0.5}]), Reaches("train")
    ] = None
    """Further arguments of transformers' GenerationConfig for the answers that are rewarded."""
    beta: Annotated[Number | None, Field(ge=0, examples=[0.04, 0.1]), Reaches("train")] = None
    """The same as rl_beta; write one of the two."""
    num_iterations: Annotated[Whole | None, Field(ge=1, examples=[2, 4]), Reaches("train")] = None
    """Optimizer passes over the same answers. Unset: 1."""
    epsilon: Annotated[Number | None, Field(gt=0, examples=[0.1, 0.3]), Reaches("train")] = None
    """How far one step may change a token's probability ratio. Unset: 0.2."""
    epsilon_high: Annotated[Number | None, Field(gt=0, examples=[0.28, 0.4]), Reaches("train")] = None
    """The same upwards. Unset: as epsilon."""
    loss_type: Annotated[
        Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo"] | None,
        Field(examples=["dr_grpo", "bnpo"]),
        Reaches("train"),
    ] = None
    """How token losses are averaged, by TRL's names; with `rl: grpo` and `gdpo`. Unset: dapo."""
    scale_rewards: Annotated[
        bool | Literal["group", "batch", "none"] | None, Field(examples=["batch", False]), Reaches("train")
    ] = None
    """What rewards are divided by: their spread within a question's answers (`group`, true), within the batch, or
    nothing (`none`, false); with `rl: grpo` and `gdpo`. Unset: group."""
    importance_sampling_level: Annotated[
        Literal["token", "sequence"] | None, Field(examples=["sequence", "token"]), Reaches("train")
    ] = None
    """Whether probability ratios are taken token by token or over an answer (GSPO); with `rl: grpo` and `gdpo`. Unset:
    token."""
    mask_truncated_completions: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Learn nothing from answers that were cut at max_completion_length."""
    multi_objective_aggregation: Annotated[
        Literal["sum_then_normalize", "normalize_then_sum"] | None,
        Field(examples=["normalize_then_sum", "sum_then_normalize"]),
        Reaches("train"),
    ] = None
    """How several rewards become one; with `rl: grpo`. Unset: sum_then_normalize, with rl: gdpo the other."""
    off_policy_mask_threshold: Annotated[Number | None, Field(gt=0, examples=[0.5, 1.0]), Reaches("train")] = None
    """Learn nothing from bad answers that the model has moved away from by more than this; with `rl: grpo`."""
    sync_ref_model: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Let the reference follow the model, every ref_model_sync_steps; only where all weights are trained."""
    ref_model_mixup_alpha: Annotated[Share | None, Field(examples=[0.5, 0.9]), Reaches("train")] = None
    """Share of the model in the reference at each such step. Unset: 0.6."""
    ref_model_sync_steps: Annotated[Whole | None, Field(ge=1, examples=[64, 100]), Reaches("train")] = None
    """Steps between two of them. Unset: 512."""
    normalize_advantages: Annotated[bool, Field(examples=[True, False]), Reaches("train")] = False
    """Divide by the spread of the batch; with `rl: rloo`."""
    reward_clip_range: Annotated[
        list[Number] | None, Field(min_length=2, max_length=2, examples=[[-5, 5], [-1, 1]]), Reaches("train")
    ] = None
    """Rewards outside are moved to its edges; with `rl: rloo`."""


class MethodSection(Section):
    rl: Annotated[
        Literal["dpo", "ipo", "orpo", "simpo", "cpo", "kto", "grpo", "gdpo", "rloo"] | None,
        Field(examples=["dpo", "orpo"]),
        Reaches("load", "format", "train", "save", unsloth=("format", "train", "save")),
    ] = None
    """How is learned, and from which rows. Pairs of a chosen and a rejected answer: `dpo`, `ipo`, `orpo`, `simpo`,
    `cpo`. Single answers that are good or bad: `kto`. Questions whose answers are rewarded: `grpo`, `gdpo`, `rloo`.
    Unset: answers are imitated."""
    reward_model: Annotated[
        bool, Field(examples=[True, False]), Reaches("load", "format", "adapt", "train", "generate")
    ] = False
    """Train a model that scores answers, from pairs of a chosen and a rejected one."""
    rl_beta: Annotated[Number | None, Field(ge=0, examples=[0.3, 0.5]), Reaches("train", needs=_DPO)] = None
    """How strongly the model is held to where it began (dpo, ipo, kto, grpo, rloo), or how much a pair counts (orpo,
    simpo, cpo). Unset: 0.1; 0 with grpo, 0.05 with rloo."""
    dpo_loss_type: Annotated[
        list[Loss] | Loss | None, Field(examples=[["hinge"], ["sigmoid", "sft"]]), Reaches("train", needs=_DPO)
    ] = None
    """Loss of `rl: dpo`, or several that are added, by TRL's names. Unset: sigmoid."""
    dpo_loss_weights: Annotated[
        list[Number] | None,
        Field(min_length=1, examples=[[1.0, 0.2], [0.5, 0.5]]),
        Reaches("train", needs=_DPO | {"dpo_loss_type": ["sigmoid", "sft"]}),
    ] = None
    """How much each of several losses counts. Unset: all the same."""
    dpo_label_smoothing: Annotated[
        Number | None, Field(ge=0, lt=0.5, examples=[0.1, 0.2]), Reaches("train", needs=_DPO)
    ] = None
    """Share of pairs taken to be the wrong way round."""
    dpo_use_weighting: Annotated[bool, Field(examples=[True, False]), Reaches("train", needs=_DPO)] = False
    """Weigh each pair by how likely the model finds it (WPO)."""
    dpo_use_liger_kernel: Annotated[bool, Field(examples=[True, False]), Reaches("train", unsloth=(), needs=_DPO)] = (
        False
    )
    """Compute probabilities in pieces, which saves memory; needs a CUDA GPU and liger-kernel."""
    rpo_alpha: Annotated[Number | None, Field(gt=0, examples=[0.5, 1.0]), Reaches("train", needs=_DPO)] = None
    """Weight of imitating the chosen answer beside the loss of pairs."""
    precompute_ref_log_probs: Annotated[bool, Field(examples=[True, False]), Reaches("train", needs=_DPO)] = False
    """Ask the reference once before training instead of at every step; with `rl: dpo`, `ipo` and `kto`."""
    max_prompt_len: Annotated[Whole | None, Field(ge=1, examples=[512, 64]), Reaches("format", needs=_DPO)] = None
    """Tokens of a question at most; a longer one loses its beginning, and is counted. Unset: as sequence_len allows."""
    orpo_alpha: Annotated[Number | None, Field(gt=0, examples=[0.1, 0.5]), Reaches("train", needs={"rl": "orpo"})] = (
        None
    )
    """How much the pair counts beside imitating the chosen answer. Unset: 0.1."""
    simpo_gamma: Annotated[Number | None, Field(ge=0, examples=[0.5, 1.0]), Reaches("train", needs={"rl": "simpo"})] = (
        None
    )
    """How much better the chosen answer should be. Unset: 0.5."""
    cpo_alpha: Annotated[Number | None, Field(ge=0, examples=[0.5, 0.1]), Reaches("train", needs={"rl": "simpo"})] = (
        None
    )
    """Weight of imitating the chosen answer, with `rl: simpo` and `cpo`. Unset: 1."""
    kto_desirable_weight: Annotated[
        Number | None, Field(gt=0, examples=[0.5, 2.0]), Reaches("train", needs={"rl": "kto"})
    ] = None
    """Weight of good answers. Unset: 1."""
    kto_undesirable_weight: Annotated[
        Number | None, Field(gt=0, examples=[0.5, 2.0]), Reaches("train", needs={"rl": "kto"})
    ] = None
    """Weight of bad answers. Unset: 1."""
    center_rewards_coefficient: Annotated[
        Number | None, Field(gt=0, examples=[0.01, 0.1]), Reaches("train", needs={"reward_model": True})
    ] = None
    """Pull of rewards towards a mean of zero. Unset: none."""
    trl: Annotated[
        TrlConfig | None,
        Field(
            examples=[
                {"reward_funcs": ["rewards.py:short"], "num_generations": 4},
                {"reward_funcs": ["outputs/reward"], "num_generations": 2, "max_completion_length": 64},
            ]
        ),
        Reaches("format", "train", needs={"rl": "grpo"}),
    ] = None
    """Keys of methods that reward the model's own answers."""
