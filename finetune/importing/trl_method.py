"""TRL's settings that are read together, for each method: losses, lengths, which tokens are learned, and defaults."""

from collections.abc import Mapping
from typing import Any

from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, Draft, Line
from finetune.importing.found import Setting, known
from finetune.importing.peeking import columns
from finetune.importing.training_arguments import DEFAULTS as COMMON
from finetune.importing.trl_arguments import DEFAULTS

RL = {"dpo": "dpo", "kto": "kto", "orpo": "orpo", "cpo": "cpo", "grpo": "grpo", "rloo": "rloo"}
LOSSES = (
    "sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_unpaired apo_zero apo_down discopop sft "
    "sigmoid_norm"
).split()
OLD_LOSSES = {"aot_pair": "aot"}
LONGEST = 2048


def read_method(method: str, settings: Mapping[str, Setting], draft: Draft) -> None:
    if method == "reward":
        draft.assume("reward_model", True, "the method")
    elif method in RL:
        draft.assume("rl", RL[method], "the method")
    if method == "dpo":
        _losses(settings.get("loss_type"), draft)
    if method == "cpo":
        _cpo(settings.get("loss_type"), draft)
    if method in ("grpo", "rloo"):
        _room(settings, draft)
    else:
        _length(settings, draft)
    if method == "sft":
        _sft(settings, draft)
    template = settings.get("chat_template_path")
    if template is not None and isinstance(template.value, str) and template.value.endswith((".jinja", ".j2")):
        draft.assume("chat_template", "jinja", "chat_template_path names a file")
        draft.put("chat_template_jinja", template.value, template)
    elif template is not None and template.value is not None:
        draft.tell(LOST, template, "a template is not taken from another model", "`chat_template` by its name")
    elif template is not None:
        draft.tell(IDLE, template, "asks for nothing")


def _losses(setting: Setting | None, draft: Draft) -> None:
    if setting is None:
        return
    if not known(setting.value):
        draft.unread(setting)
        return
    names = setting.value if isinstance(setting.value, list) else [setting.value]
    names = [OLD_LOSSES.get(str(name), name) for name in names]
    foreign = [name for name in names if name not in LOSSES]
    if names in (["sigmoid"], [None]):
        draft.tell(IDLE, setting, "it is the usual loss")
    elif foreign:
        near = {"simpo": "rl: simpo", "orpo": "rl: orpo"}.get(str(foreign[0]), "dpo_loss_type")
        draft.tell(LOST, setting, f"the loss {foreign[0]!r} is not one of those here", f"see `{near}`")
    else:
        draft.put("dpo_loss_type", names[0] if len(names) == 1 else names, setting)


def _cpo(setting: Setting | None, draft: Draft) -> None:
    if setting is None or setting.value == "sigmoid":
        if setting is not None:
            draft.tell(IDLE, setting, "it is CPO's usual loss")
    elif setting.value == "simpo":
        draft.lines["rl"] = Line("simpo", "loss_type=simpo", setting.where)
        draft.tell("carried", setting, "`rl: simpo`")
    else:
        draft.tell(LOST, setting, "CPO has its usual loss and SimPO's here", "`rl: dpo` with dpo_loss_type")


def length_setting(settings: Mapping[str, Setting]) -> Setting | None:
    """max_length, or its former name where only that is written."""
    return settings.get("max_length") or settings.get("max_seq_length")


def _length(settings: Mapping[str, Setting], draft: Draft) -> None:
    for name in ("max_length", "max_seq_length"):
        setting = settings.get(name)
        if setting is None:
            continue
        if setting.value is None:
            message = f"rows of any length are trained on there; here sequence_len is {LONGEST} until it is raised"
            draft.tell(CHANGED, setting, message, "set sequence_len to the longest row")
            draft.assume("sequence_len", LONGEST, "TO DO: there rows are not cut; raise it to the longest row")
        else:
            draft.put("sequence_len", setting.value, setting)
    draft.assume("excess_length_strategy", "truncate", "longer rows are cut there, never left out")
    mode = settings.get("truncation_mode")
    if mode is not None and mode.value == "keep_end":
        draft.put("truncation_side", "left", mode)
    elif mode is not None:
        draft.tell(IDLE, mode, "a longer row loses its end, as when it is not written")


def _room(settings: Mapping[str, Setting], draft: Draft) -> None:
    """sequence_len of methods that generate: the question and the answer together."""
    question = settings.get("max_prompt_length")
    total = length_setting(settings)
    answer = draft.value("trl.max_completion_length", 512)
    if not isinstance(answer, int):
        return
    if question is not None and isinstance(question.value, int):
        place = Setting(question.name, question.value, question.where)
        draft.put("sequence_len", question.value + answer, place, "it is the question's and the answer's together")
    elif question is not None and question.value is not None:
        draft.unread(question)
    elif total is not None and isinstance(total.value, int):
        draft.put("sequence_len", total.value, total)
        return
    elif question is not None:
        draft.tell(IDLE, question, "questions are as long as they are")
    draft.assume("sequence_len", LONGEST + answer, "questions are not cut there; raise it where they are longer")
    if total is not None:
        draft.tell(IDLE, total, "max_prompt_length and max_completion_length say it")


def _sft(settings: Mapping[str, Setting], draft: Draft) -> None:
    strategy, packed = settings.get("packing_strategy"), draft.value("sample_packing") is True
    if strategy is not None and (not packed or strategy.value in (None, "bfd")):
        draft.tell(IDLE, strategy, "rows are packed whole, and never see each other")
    elif strategy is not None and strategy.value == "wrapped":
        draft.put("text_chunks", "joined", strategy, "of plain text; conversations are packed whole")
    elif strategy is not None:
        draft.tell(CHANGED, strategy, "rows are packed whole here; a longer one is cut")
    evaluated = settings.get("eval_packing")
    if evaluated is not None and packed and isinstance(evaluated.value, bool):
        draft.put("eval_sample_packing", evaluated.value, evaluated)
    elif evaluated is not None:
        draft.tell(IDLE, evaluated, "it counts only with packing")
    kwargs = settings.get("dataset_kwargs")
    if kwargs is not None and isinstance(kwargs.value, Mapping) and kwargs.value.get("skip_prepare_dataset"):
        draft.tell(CHANGED, kwargs, "rows are always prepared here", "`type: pretokenized` is for finished tokens")
    elif kwargs is not None:
        draft.tell(IDLE, kwargs, "how rows are tokenized; a template's text never gets a second beginning of text here")
    if "use_liger" in settings:
        draft.tell(LOST, settings["use_liger"], "write liger_rope, liger_rms_norm, liger_glu_activation")
    learned_tokens(settings, draft)


def learned_tokens(settings: Mapping[str, Setting], draft: Draft) -> None:
    """train_on_inputs of an SFT whose rows are conversations or have a prompt and a completion."""
    answers, completion = settings.get("assistant_only_loss"), settings.get("completion_only_loss")
    for setting in (answers, completion):
        if setting is not None and not known(setting.value):
            draft.unread(setting)
    answers, completion = (one if one is not None and known(one.value) else None for one in (answers, completion))
    if answers is not None and answers.value is True:
        draft.put("train_on_inputs", False, answers)
    elif answers is not None:
        draft.tell(IDLE, answers, "every turn of a conversation is learned there")
    if completion is not None and completion.value is True:
        draft.put("train_on_inputs", False, completion)
    elif completion is not None and completion.value is False:
        draft.put("train_on_inputs", True, completion)
    elif completion is not None:
        draft.tell(IDLE, completion, "as when it is not written")


def assume_learned(draft: Draft, rows: str = "") -> None:
    """Where nothing says which tokens are learned: TRL learns all of a conversation, and of pairs the completion."""
    forms = {
        entry["type"].value for entry in draft.datasets if "type" in entry and isinstance(entry["type"].value, str)
    }
    if forms and forms <= {"prompt_completion", "completion"}:
        return
    there = columns(draft) if not forms else frozenset()
    if {"prompt", "completion"} <= there and "messages" not in there:
        draft.assume(
            "train_on_inputs", False, "the rows have a prompt and a completion, of which TRL learns the latter"
        )
        return
    given = "train_on_inputs" in draft.lines
    message = "not written; TRL learns every token of a conversation, and of prompt and completion the latter alone"
    draft.assume("train_on_inputs", True, rows or message)
    if draft.value("train_on_inputs") is True:
        advice = "train_on_inputs: false learns the answers alone, which is usually meant"
        draft.say(CHANGED, 0, "train_on_inputs", "every turn is learned, but not the marks before a turn", advice)
        wording = any("type" in entry for entry in draft.datasets)
        asked = any(told.kind == TO_DO and told.shown.startswith(("map(", "formatting_func")) for told in draft.told)
        if not forms and not wording and not asked and not there and not given:
            pairs = "rows with a prompt and a completion would have their prompts learned, which TRL does not"
            draft.say(TO_DO, 0, "train_on_inputs", pairs, "look at the rows; if they have those columns, write false")


def set_defaults(method: str, draft: Draft, why: str = "not written; TRL's default", common: Any = None) -> None:
    """What the tool does where nothing is written; `common`: its defaults of the training loop."""
    for key, value in {**COMMON, **(common if common is not None else DEFAULTS[method])}.items():
        if key not in ("bf16", "fp16") and not _without_effect(key, value, draft):
            draft.assume(key, value, why)
    if method == "sft":
        assume_learned(draft)


def _without_effect(key: str, value: Any, draft: Draft) -> bool:
    """Whether a default counts for nothing beside what is written."""
    steps = draft.value("max_steps")
    if key == "save_steps":
        ends_before = isinstance(steps, int) and steps < value
        return ends_before or "save_strategy" in draft.lines
    if key == "warmup_ratio":
        return "warmup_steps" in draft.lines
    return key == "num_epochs" and bool(steps)
