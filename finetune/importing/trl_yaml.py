"""A configuration of `trl sft`, `dpo`, `kto`, `orpo`, `reward` or `grpo`, or of a script that parses one -> a draft."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, IDLE, LOST, TO_DO, Draft, Line, origin
from finetune.importing.found import Setting, known
from finetune.importing.loop import measuring, read_arguments
from finetune.importing.model_arguments import TRL_LORA_DEFAULTS, TRL_MODEL, adapter, double_quant, target_modules
from finetune.importing.online import answers_together
from finetune.importing.precision import precision
from finetune.importing.rules import Carry, Idle, Lost, Only, Read, Table, apply, converted
from finetune.importing.training_arguments import TABLE
from finetune.importing.trl_arguments import METHODS
from finetune.importing.trl_method import read_method, set_defaults

SCRIPT: Table = {
    "dataset_name": Read("`datasets`"),
    "dataset_config": Read("`name` of the entry"),
    "dataset_train_split": Read("`split` of the entry"),
    "dataset_test_split": Read("`test_datasets`, where eval_strategy asks for measurements"),
    "dataset_streaming": Carry("streaming", to.flag, off=(None, False)),
    "gradient_checkpointing_use_reentrant": Read("`gradient_checkpointing_kwargs`"),
    "ignore_bias_buffers": Idle("it is about DDP's buffers"),
    "datasets": Read("`datasets`: path, name, data_files, split"),
    "streaming": Carry("streaming", to.flag, off=(None, False)),
    "test_split_size": Carry("val_set_size", to.number),
    "dataset_mixer": Read("`datasets`, each share as `split` or `weight`"),
    "dataset_mixture": Read("`datasets`: id, config, split, weight, columns"),
    "dataset_splits": Read("which splits of dataset_mixer are trained on"),
    "dataset_configs": Lost("write `name` into the entries of datasets"),
    "preprocessing_num_workers": Carry("dataset_num_proc", to.whole),
    "chat_template": Read("`chat_template: jinja` with its text"),
    "model_code_revision": Lost("code has the model's revision"),
    "env": Lost("a recipe sets no environment", "export it before the run", off=(None, {}, [])),
    "reward_funcs": Read("`trl.reward_funcs`, as functions of a file of one's own"),
    "reward_model_name_or_path": Read("`trl.reward_funcs`"),
    "system_prompt": Carry("default_system_message", to.text),
    "benchmarks": Lost("`finetune evaluate` measures a run"),
    "callbacks": Lost("there are no callbacks"),
    "wandb_project": Carry("wandb_project", to.text),
    "wandb_entity": Carry("wandb_entity", to.text),
    "hub_model_revision": Idle("nothing is uploaded while training"),
    "overwrite_hub_revision": Idle("nothing is uploaded while training"),
    "push_to_hub_revision": Only((None, False), "nothing is uploaded while training"),
    "auto_insert_empty_system_msg": Only((None, False), "no empty system message is put in", "default_system_message"),
    "ref_model_name_or_path": Lost("the reference is the model as it began"),
    "report_to_env": Idle("trackers"),
}
HINTS = (
    ("rloo", ("normalize_advantages", "reward_clip_range")),
    ("grpo", ("scale_rewards", "num_generations", "reward_funcs", "use_vllm")),
    ("kto", ("desirable_weight", "undesirable_weight")),
    ("cpo", ("cpo_alpha", "simpo_gamma")),
    ("reward", ("center_rewards_coefficient",)),
    ("dpo", ("beta", "max_prompt_length", "loss_weights", "precompute_ref_log_probs", "rpo_alpha")),
)


NAMED = "by its name or comments"


def method_of(data: Mapping[str, Any], names: str) -> tuple[str, str]:
    """(method, how it is known). `names`: the file's name and comments, which often say it."""
    low = names.lower()
    for method, keys in HINTS:
        found = next((key for key in keys if key in data), None)
        if found and method == "grpo" and "rloo" in low:
            return "rloo", NAMED
        if found and method != "dpo":
            return method, f"`{found}` is its own"
    for method in ("grpo", "rloo", "dpo", "kto", "orpo", "cpo", "reward", "sft"):
        if method in low:
            return method, NAMED
    found = next((key for key in HINTS[-1][1] if key in data), None)
    return ("dpo", f"`{found}` is of preferences") if found else ("sft", "no key says another")


ALSO = {"model_name": "model_name_or_path", "model_id": "model_name_or_path", "dataset_id": "dataset_name",
        "dataset_split": "dataset_train_split"}  # fmt: skip
"""Names in configurations of scripts of one's own, which mean but one thing."""


def own_names(settings: Mapping[str, Setting], method: str, draft: Draft) -> dict[str, Setting]:
    """The settings by TRL's names; what is told of a file whose names are mostly no tool's."""
    known_names = {*METHODS[method], *TABLE, *TRL_MODEL, *SCRIPT}
    strange = [name for name in settings if name not in known_names]
    if len(strange) > 3 and len(strange) * 4 > len(settings):
        message = f"{len(strange)} of its {len(settings)} names are not TRL's: a script of one's own may read them"
        draft.say(CHANGED, 0, "the file", message, "names that are TRL's are taken as TRL takes them; check the rest")
    named = {}
    for name, setting in settings.items():
        ours = ALSO.get(name)
        if ours is not None and ours not in settings:
            draft.accounted.add((setting.name, setting.where))
            named[ours] = Setting(ours, setting.value, setting.where)
        else:
            named[name] = setting
    return named


def read_trl(settings: Mapping[str, Setting], method: str, draft: Draft) -> None:
    """One draft of all settings."""
    settings = own_names(settings, method, draft)
    own = METHODS[method]
    model = {name: setting for name, setting in settings.items() if name in TRL_MODEL}
    script = {name: setting for name, setting in settings.items() if name in SCRIPT and name not in own}
    rest = {name: setting for name, setting in settings.items() if name not in model and name not in script}
    apply(model.values(), TRL_MODEL, draft)
    if "model_name_or_path" in model:
        draft.put("base_model", model["model_name_or_path"].value, model["model_name_or_path"])
    draft.switch(model.get("use_flash_attention_2"), "attn_implementation", "flash_attention_2")
    apply(script.values(), SCRIPT, draft)
    read_arguments(rest.values(), draft, {**own, **_others(own, rest)})
    _peft(model, draft)
    read_method(method, rest, draft)
    _data(script, rest, draft)
    _template(script, draft)
    _rewards(script, method, draft)
    precision(rest, model.get("dtype") or model.get("torch_dtype"), draft, "auto")
    measuring(rest, draft, bool(draft.test_datasets or draft.value("val_set_size")))
    set_defaults(method, draft)
    answers_together(method, draft)


def _others(own: Table, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Names of another method's configuration, which this one would not take."""
    return {
        name: Lost(f"it is of `trl {other}`", f"if that is meant: --method {other}", off=())
        for other, table in METHODS.items()
        for name in table
        if name in settings and name not in own and name not in TABLE
    }


def _peft(model: Mapping[str, Setting], draft: Draft) -> None:
    use, bits = model.get("use_peft"), draft.value("load_in_4bit") is True or draft.value("load_in_8bit") is True
    meant = use is None and bits and "lora_r" in model
    if meant:
        message = "4-bit weights cannot be trained without an adapter, and use_peft is not written: taken for meant"
        draft.say(CHANGED, model["lora_r"].where.line, "use_peft", message)
        adapter(draft, "quantized weights need one, and lora_r is written")
    if meant or (use is not None and use.value is True):
        if use is not None:
            draft.put("adapter", "qlora" if draft.value("load_in_4bit") is True else "lora", use)
        target_modules(model.get("lora_target_modules"), draft)
        for key, value in TRL_LORA_DEFAULTS.items():
            draft.assume(key, value, "not written; TRL's default")
    else:
        if use is not None:
            draft.tell(IDLE, use, "all weights are trained")
        for name, rule in TRL_MODEL.items():
            if name in model and (name.startswith("lora_") or name in ("use_rslora", "use_dora")):
                if isinstance(rule, Carry) and rule.key in draft.lines:
                    del draft.lines[rule.key]
                draft.tell(CHANGED, model[name], "without use_peft: true it counts for nothing there, and is left out")
    nested = model.get("use_bnb_nested_quant")
    if draft.value("load_in_4bit") is True:
        adapter(draft, "4-bit weights need one")
        double_quant(nested, draft)
    elif nested is not None:
        draft.tell(IDLE, nested, "it counts only with load_in_4bit")


def _data(script: Mapping[str, Setting], rest: Mapping[str, Setting], draft: Draft) -> None:
    name = script.get("dataset_name")
    if name is not None and known(name.value) and name.value:
        entry = draft.entry(name, str(name.value))
        draft.tell("carried", name, f"`datasets.path: {name.value}`")
        for key, ours in (("dataset_config", "name"), ("dataset_train_split", "split")):
            _into(entry, script.get(key), ours, draft)
        _test(script, rest, entry, draft)
    for key in ("datasets", "dataset_mixture", "dataset_mixer"):
        if key in script:
            _mixture(script[key], script.get("dataset_splits"), _is_measured(rest), draft)


def _into(entry: dict[str, Line], setting: Setting | None, key: str, draft: Draft) -> None:
    if setting is None:
        return
    if setting.value is None:
        draft.tell(IDLE, setting, "asks for nothing")
    else:
        entry[key] = Line(setting.value, origin(setting), setting.where)
        draft.tell("carried", setting, f"`datasets.{key}: {setting.value}`")


def _is_measured(rest: Mapping[str, Setting]) -> bool:
    strategy = rest.get("eval_strategy") or rest.get("evaluation_strategy")
    return strategy is not None and strategy.value not in ("no", False, None)


def _test(script: Mapping[str, Setting], rest: Mapping[str, Setting], entry: dict[str, Line], draft: Draft) -> None:
    split, measured = script.get("dataset_test_split"), _is_measured(rest)
    if measured:
        test = {key: Line(line.value, "as datasets", line.where) for key, line in entry.items()}
        name = split.value if split is not None else "test"
        test["split"] = Line(name, origin(split) if split is not None else "not written; TRL's default")
        draft.test_datasets.append(test)
    if split is not None:
        message = f"`test_datasets.split: {split.value}`" if measured else "nothing is measured: eval_strategy is no"
        draft.tell("carried" if measured else IDLE, split, message)


def _mixture(setting: Setting, splits: Setting | None, measured: bool, draft: Draft) -> None:
    """TRL's and the alignment handbook's ways of naming several sources."""
    value = setting.value
    draft.accounted.add((setting.name, setting.where))
    if isinstance(value, dict) and "datasets" in value:
        for key, item in value.items():
            if key == "test_split_size":
                draft.put("val_set_size", item, Setting(f"{setting.key}.{key}", item, setting.where))
            elif key != "datasets":
                draft.tell(IDLE, Setting(f"{setting.key}.{key}", item, setting.where), "rows are mixed by `seed`")
        value = value["datasets"]
    elif isinstance(value, dict):
        wanted = splits.value if splits is not None and isinstance(splits.value, list) else ["train"]
        tests = [split for split in wanted if "test" in str(split)]
        trained = [split for split in wanted if "test" not in str(split)] or ["train"]
        if measured:
            names = [(path, split) for path in value for split in tests]
            why = f"line {setting.where.line}: {setting.key}"
            draft.test_datasets += [{"path": Line(str(path), why), "split": Line(split, "dataset_splits")}
                                    for path, split in names]  # fmt: skip
        value = [{"id": path, "weight": share, "split": split} for path, share in value.items() for split in trained]
        if splits is not None:
            draft.tell("carried", splits, f"`split: {', '.join(map(str, trained))}`")
    if not isinstance(value, list):
        draft.unread(setting)
        return
    for number, item in enumerate(value):
        if isinstance(item, dict) and (item.get("path") or item.get("id")):
            _source(Setting(f"{setting.key}.{number}", item, setting.where), draft)
        else:
            draft.tell(LOST, Setting(f"{setting.key}.{number}", item, setting.where), "it names no source")


def _source(setting: Setting, draft: Draft) -> None:
    item = dict(setting.value)
    entry = draft.entry(setting, str(item.pop("path", None) or item.pop("id")))
    entry["path"].why = (
        f"line {setting.where.line}: {setting.name.split('.')[0]}" if setting.where.line else setting.name
    )
    draft.tell("carried", setting, f"`datasets.path: {entry['path'].value}`")
    names = {"name": "name", "config": "name", "data_files": "data_files", "split": "split", "weight": "weight"}
    for key, value in item.items():
        place = Setting(f"{setting.name}.{key}", value, setting.where)
        if value is None or (key == "weight" and value == 1):
            draft.tell(IDLE, place, "asks for nothing")
        elif key == "columns":
            draft.tell(IDLE, place, "columns that the form does not read are left alone")
        elif key in names:
            entry[names[key]] = Line(value, origin(place), setting.where)
            draft.tell("carried", place, f"`datasets.{names[key]}`")
        else:
            draft.tell(LOST, place, "an entry of datasets has no such key", "data_files or split may say it")


def _template(script: Mapping[str, Setting], draft: Draft) -> None:
    setting = script.get("chat_template")
    if setting is not None and isinstance(setting.value, str) and "{%" in setting.value:
        draft.put("chat_template", "jinja", Setting("chat_template", "jinja", setting.where))
        draft.put("chat_template_jinja", setting.value, setting)
    elif setting is not None and setting.value:
        draft.put("chat_template", setting.value, setting)
    elif setting is not None:
        draft.tell(IDLE, setting, "the model's own template is used")


def _rewards(script: Mapping[str, Setting], method: str, draft: Draft) -> None:
    found = [script[name] for name in ("reward_funcs", "reward_model_name_or_path") if name in script]
    if method not in ("grpo", "rloo"):
        for setting in found:
            draft.tell(LOST, setting, f"`trl {method}` rewards nothing")
        return
    rewards: list[str] = []
    for setting in found:
        names = (converted(setting, to.words, draft) if setting.value else None) or []
        rewards += [name if "/" in name else f"rewards.py:{name.rsplit('.', 1)[-1]}" for name in names]
        message = "a recipe's rewards are functions in a file beside it, or models"
        draft.tell(TO_DO, setting, message, "write these functions into rewards.py beside the recipe")
    if not rewards:
        rewards = ["rewards.py:reward"]
        draft.say(TO_DO, 0, "reward_funcs", "the file names no reward", "write a function `reward` into rewards.py")
    where = found[0].where if found else None
    draft.lines["trl.reward_funcs"] = Line(rewards, "TO DO: functions of your own, see docs/methods.md", where)
