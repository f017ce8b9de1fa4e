"""LLaMA-Factory's YAML or JSON -> a draft: what its arguments mean together.

The single ones are in llamafactory_arguments.py, the data in llamafactory_data.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.errors import Fault, RecipeError, Where
from finetune.importing.draft import CHANGED, IDLE, LOST, Draft
from finetune.importing.found import Setting
from finetune.importing.llamafactory_adapter import read_adapter, read_quantization, value
from finetune.importing.llamafactory_arguments import TABLE
from finetune.importing.llamafactory_data import read_data, read_template
from finetune.importing.llamafactory_optimizers import read_optimizers
from finetune.importing.loop import measuring, read_arguments
from finetune.importing.model_arguments import adapter
from finetune.importing.precision import precision
from finetune.importing.trl_method import LOSSES, set_defaults

VERSION = "0.9.6.dev0"
Settings = Mapping[str, Setting]
STAGES = ("pt", "sft", "rm", "dpo", "kto")
ATTENTION = {"fa2": "flash_attention_2", "fa3": "flash_attention_3", "sdpa": "sdpa", "disabled": "eager"}


def read_factory(settings: Settings, folder: Path, draft: Draft) -> None:
    stage = str(value(settings, "stage", "sft"))
    kind = str(value(settings, "finetuning_type", "lora"))
    _refuse(settings, stage, kind)
    read_arguments(settings.values(), draft, TABLE)
    for name in ("stage", "finetuning_type"):
        if name in settings:
            draft.tell("carried", settings[name], _said(name, settings[name].value))
    _method(stage, settings, draft)
    read_adapter(kind, settings, draft)
    read_quantization(settings, draft)
    if kind == "lora":
        adapter(draft, "finetuning_type" if "finetuning_type" in settings else "not written; LLaMA-Factory's default")
    _memory(settings, draft)
    read_optimizers(settings, draft)
    read_data(settings, stage, folder, draft)
    read_template(settings, stage, draft)
    _tokens(stage, settings, draft)
    _precision(settings, draft)
    measuring(settings, draft, bool(draft.test_datasets or draft.value("val_set_size")))
    _trackers(settings, draft)
    if stage == "kto":
        _pairs_of_rows(draft)
    set_defaults("factory", draft, "not written; LLaMA-Factory's default", {"sequence_len": 2048})


def _said(name: str, given: Any) -> str:
    return f"the method: {given}" if name == "stage" else f"what is trained: {given}"


def _refuse(settings: Settings, stage: str, kind: str) -> None:
    """RecipeError for a run that no recipe can be: another one would train something else."""

    def refused(name: str, message: str) -> RecipeError:
        where = settings[name].where if name in settings else Where("")
        return RecipeError(Fault(f"{message}; nothing was written", where))

    if not {"stage", "dataset", "finetuning_type"} & set(settings) and "export_dir" in settings:
        raise refused("export_dir", "this merges and exports, and trains nothing: finetune merge RUN_FOLDER")
    predicts = value(settings, "do_predict") is True and value(settings, "do_train") is not True
    if predicts or value(settings, "do_train") is False or ("dataset" not in settings and "stage" not in settings):
        name = "do_predict" if predicts else "do_train" if "do_train" in settings else "model_name_or_path"
        raise refused(name, "this trains nothing: finetune chat, generate, serve and evaluate work with a run's folder")
    if stage == "ppo":
        near = "`trl rloo` and `trl grpo` are near: recipes/quickstart_rloo.yaml shows how a recipe says it"
        raise refused("stage", f"`stage: ppo` has no counterpart. {near}")
    if stage not in STAGES:
        raise refused("stage", f"`stage: {stage}` is none of {', '.join(STAGES)}")
    if kind == "oft":
        raise refused("finetuning_type", "`finetuning_type: oft` has no counterpart; lora is near")
    if kind == "freeze":
        message = "`finetuning_type: freeze` trains some layers, by their number"
        raise refused("finetuning_type", f"{message}; write a recipe with `unfrozen_parameters`, which names them")
    if kind not in ("lora", "full"):
        raise refused("finetuning_type", f"`finetuning_type: {kind}` is none of lora and full")


def _method(stage: str, settings: Settings, draft: Draft) -> None:
    loss = str(value(settings, "pref_loss", "sigmoid"))
    if stage == "rm":
        draft.assume("reward_model", True, "stage: rm")
    elif stage == "kto":
        draft.assume("rl", "kto", "stage: kto")
    elif stage == "dpo":
        draft.assume("rl", loss if loss in ("orpo", "simpo") else "dpo", "stage: dpo")
    _loss(stage, loss, settings, draft)
    beta = settings.get("pref_beta")
    if stage in ("dpo", "kto"):
        key = "orpo_alpha" if draft.value("rl") == "orpo" else "rl_beta"
        if beta is not None and beta.value is not None:
            draft.put(key, beta.value, beta)
        draft.assume(key, 0.1, "not written; LLaMA-Factory's default")
    elif beta is not None:
        draft.tell(IDLE, beta, f"it counts only with preferences; the stage is {stage}")
    gamma = settings.get("simpo_gamma")
    if draft.value("rl") == "simpo":
        if gamma is not None:
            draft.put("simpo_gamma", gamma.value, gamma)
        draft.assume("cpo_alpha", 0, "LLaMA-Factory's SimPO imitates nothing beside")
    elif gamma is not None:
        draft.tell(IDLE, gamma, "it counts only with pref_loss: simpo")


def _loss(stage: str, loss: str, settings: Settings, draft: Draft) -> None:
    setting = settings.get("pref_loss")
    if setting is None:
        return
    if stage != "dpo":
        draft.tell(IDLE, setting, f"it counts only with stage: dpo; the stage is {stage}")
    elif loss in ("orpo", "simpo"):
        draft.tell("carried", setting, f"`rl: {loss}`")
    elif loss == "sigmoid":
        draft.tell(IDLE, setting, "it is the usual loss of pairs")
    elif loss in LOSSES:
        draft.put("dpo_loss_type", loss, setting)
    else:
        draft.tell(LOST, setting, f"the loss {loss!r} is not one of those here", "see `dpo_loss_type`")


def _memory(settings: Settings, draft: Draft) -> None:
    flash, off = settings.get("flash_attn"), settings.get("disable_gradient_checkpointing")
    if flash is not None and isinstance(flash.value, str) and flash.value in ATTENTION:
        draft.put("attn_implementation", ATTENTION[flash.value], flash)
    elif flash is not None:
        draft.tell(IDLE if flash.value in (None, "auto") else LOST, flash, "the attention kernel is chosen")
    draft.switch(settings.get("use_unsloth"), "backend", "unsloth")
    _checkpointing(settings, off, draft)
    if "enable_liger_kernel" in settings:
        setting = settings["enable_liger_kernel"]
        for key in ("liger_rope", "liger_rms_norm", "liger_glu_activation", "liger_fused_linear_cross_entropy"):
            if setting.value is True:
                draft.put(key, True, setting)
        if setting.value is not True:
            draft.tell(IDLE, setting, "asks for nothing")
    draft.switch(settings.get("split_special_tokens"), "special_tokens_in_content", "text")


def _checkpointing(settings: Settings, off: Setting | None, draft: Draft) -> None:
    offload, reentrant = settings.get("use_unsloth_gc"), settings.get("use_reentrant_gc")
    # transformers' own flag says nothing there: the model turns checkpointing on by itself.
    hugging = settings.get("gradient_checkpointing")
    if hugging is not None:
        draft.lines.pop("gradient_checkpointing", None)
        draft.tell(IDLE, hugging, "disable_gradient_checkpointing decides there")
    if off is not None and off.value is True:
        draft.put("gradient_checkpointing", False, off)
    elif off is not None:
        draft.tell(IDLE, off, "gradient checkpointing is on, as when it is not written")
    if offload is not None and offload.value is True and not (off is not None and off.value is True):
        draft.put("gradient_checkpointing", "unsloth", offload)
    elif offload is not None:
        draft.tell(IDLE, offload, "asks for nothing")
    draft.assume("gradient_checkpointing", True, "not written; on there unless it is turned off")
    if reentrant is not None:
        draft.tell(IDLE, reentrant, "how checkpoints are recomputed does not change what is learned")


def _tokens(stage: str, settings: Settings, draft: Draft) -> None:
    """What is learned of a row."""
    last = settings.get("mask_history")
    if last is not None and last.value is True and stage == "sft":
        draft.put("multiturn", "last", last)
    elif last is not None:
        draft.tell(IDLE, last, "asks for nothing")
    if stage == "sft":
        draft.assume("train_on_inputs", False, "not written; only answers are learned there")


def _precision(settings: Settings, draft: Draft) -> None:
    note = "" if draft.value("adapter") else "trained weights may stay in 32 bits here, which takes more memory"
    draft.switch(settings.get("pure_bf16"), "bf16", True, note)
    # Without a flag the model's own type is computed in; weights that are all trained are made 32 bits.
    precision(settings, None, draft, "auto" if draft.value("adapter") else draft.value("bf16", False))


def _trackers(settings: Settings, draft: Draft) -> None:
    on = draft.value("use_swanlab") is True
    for name, key in (
        ("swanlab_project", "swanlab_project"),
        ("swanlab_workspace", "swanlab_workspace"),
        ("swanlab_run_name", "swanlab_experiment_name"),
        ("swanlab_mode", "swanlab_mode"),
    ):
        setting = settings.get(name)
        if setting is not None and on and setting.value:
            draft.put(key, setting.value, setting)
        elif setting is not None:
            draft.tell(IDLE, setting, "it counts only with use_swanlab")


def _pairs_of_rows(draft: Draft) -> None:
    """KTO compares the rows of a batch with each other, so that one alone does not do."""
    rows, times = draft.value("micro_batch_size", 8), draft.value("gradient_accumulation_steps", 1)
    if rows == 1 and isinstance(times, int):
        draft.lines.pop("micro_batch_size")
        draft.lines.pop("gradient_accumulation_steps", None)
        why = "per_device_train_batch_size=1: KTO needs two rows at once here"
        draft.assume("micro_batch_size", 2, why)
        draft.assume("gradient_accumulation_steps", max(1, times // 2), "halved, so that a step has as many rows")
        draft.say(CHANGED, 0, "per_device_train_batch_size", why, f"a step has {2 * max(1, times // 2)} rows")
