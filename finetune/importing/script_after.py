"""What a script does around training: answers, saving, exporting, uploading, logins -> keys, or commands."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, IDLE, LOST, UNREAD, Draft
from finetune.importing.found import GUESS, OWN_TRAINER, Object, Setting, known
from finetune.importing.rules import Carry, Idle, Lost, Only, Table, apply

_INPUT = Idle("what is asked: `sample_prompts` are questions of your own")
_SHOWN = Idle("how an answer is shown")
GENERATE: Table = {
    "max_new_tokens": Carry("generation_max_new_tokens", to.whole),
    "temperature": Carry("generation_temperature", to.number),
    "top_p": Carry("generation_top_p", to.number),
    "top_k": Carry("generation_top_k", to.whole, off=(None, 0)),
    "min_p": Carry("generation_min_p", to.number),
    "repetition_penalty": Carry("generation_repetition_penalty", to.number),
    "do_sample": Carry("generation_do_sample", to.flag),
    "use_cache": Idle("answers are written with a cache of keys and values"),
    "eos_token_id": Idle("an answer ends with the tokens that training found to end a turn"),
    "pad_token_id": Idle("how answers are padded"),
    "streamer": _SHOWN,
    "input_ids": _INPUT,
    "inputs": _INPUT,
    "attention_mask": _INPUT,
    "max_length": Lost("an answer's length is its own", "generation_max_new_tokens"),
    "num_return_sequences": Only((1, None), "each question is answered once"),
    "num_beams": Only((1, None), "answers are not found by beams"),
    "return_dict_in_generate": _SHOWN,
    "output_scores": _SHOWN,
    "early_stopping": Idle("of beams"),
    "no_repeat_ngram_size": Lost("", "generation_repetition_penalty"),
    "stopping_criteria": Lost("", "generation_stop"),
}
CONFIGURED = ("LoraConfig", "BitsAndBytesConfig", "EarlyStoppingCallback", "get_peft_model", "AdaLoraConfig")
CHOSEN = ("from_pretrained", "load_dataset", "load_from_disk", "TrainingArguments", "SFTConfig", "DPOConfig",
          "GRPOConfig", "map", "filter", "select", "concatenate_datasets", "train_test_split")  # fmt: skip
SAVES: Mapping[str, str] = {
    "save_pretrained": "the run folder holds model and tokenizer",
    "save_model": "the run folder holds model and tokenizer",
    "save_pretrained_merged": "`finetune merge RUN_FOLDER` writes the merged model, with a proof",
    "merge_and_unload": "`finetune merge RUN_FOLDER` writes the merged model, with a proof",
    "save_pretrained_gguf": "`finetune export RUN_FOLDER --to gguf`, or `export_to` in the recipe",
    "push_to_hub": "`finetune push RUN_FOLDER OWNER/NAME`",
    "push_to_hub_merged": "`finetune merge RUN_FOLDER`, then `finetune push`",
    "push_to_hub_gguf": "`finetune export RUN_FOLDER --to gguf`, then `finetune push`",
    "login": "log in with HF_TOKEN in the environment",
    "notebook_login": "log in with HF_TOKEN in the environment",
}
MENTIONED: Mapping[str, str] = {
    "for_inference": "it makes Unsloth generate faster, and merges nothing; `finetune chat RUN_FOLDER` answers",
    "for_training": "training is switched on by the program",
    "prepare_model_for_kbit_training": "quantized models are prepared by the program",
    "print_trainable_parameters": "`finetune plan RECIPE` says what is trained",
    "gradient_checkpointing_enable": "`gradient_checkpointing: true` in the recipe",
    "TextStreamer": "`finetune chat RUN_FOLDER` shows an answer as it is written",
}
GGUF = {"q8_0": "q8_0", "f16": "f16", "bf16": "bf16", "f32": "f32", "q4_k_m": "q4_k_m", "not_quantized": "f16",
        "fast_quantized": "q8_0", "quantized": "q4_k_m"}  # fmt: skip
ATTRIBUTES: Mapping[str, str] = {
    "pad_token": "labels never come from padding, so any token may pad",
    "pad_token_id": "labels never come from padding, so any token may pad",
    "padding_side": "on which side rows are padded does not change what is learned",
    "truncation_side": "rows are cut by excess_length_strategy",
    "use_cache": "training keeps no cache of keys and values",
    "pretraining_tp": "how it is computed",
    "add_eos_token": "an answer always ends with its end token",
    "add_bos_token": "the chat template writes the beginning of a text",
    "model_max_length": "sequence_len says it",
    "eos_token": "the token that ends a turn is found by rendering one",
}


def read_after(calls: Sequence[Object], draft: Draft) -> None:
    answers = [call for call in calls if call.name == "generate" and call.arguments]
    for number, call in enumerate(answers):
        _answers(call, number == 0, draft)
    for call in calls:
        if call.name in SAVES:
            _saved(call, draft)
        elif call.name in MENTIONED:
            _mentioned(call, draft)
        elif call.name == "setattr":
            _attribute(call, draft)
        elif call.call == "os.environ":
            _environment(call, draft)


def _answers(call: Object, first: bool, draft: Draft) -> None:
    settings = {name: setting for name, setting in call.arguments.items() if not name.startswith("**")}
    for name, setting in call.arguments.items():
        if name not in settings:
            draft.tell(IDLE, setting, "what is asked: `sample_prompts` are questions of your own")
    if not first:
        for setting in settings.values():
            draft.tell(IDLE, setting, "of a further answer; the first one's settings are taken")
        return
    if "do_sample" not in settings and "temperature" in settings:
        message = (
            "without do_sample=True transformers may draw nothing by chance there; here a temperature above 0 does"
        )
        draft.tell(CHANGED, settings["temperature"], message)
    apply(settings.values(), GENERATE, draft)


def _saved(call: Object, draft: Draft) -> None:
    message = SAVES[call.name]
    draft.say(IDLE, call.line, f"{call.name}(…)", message)
    for setting in call.arguments.values():
        draft.tell(IDLE, setting, message)
    if call.name == "save_pretrained_gguf" and "export_to" not in draft.lines:
        method = call.setting("quantization_method", 2)
        name = method.value if method is not None else "fast_quantized"
        name = name[0] if isinstance(name, list) and name else name
        near = GGUF.get(str(name)) if known(name) else None
        advice = f"finetune export RUN_FOLDER --to gguf --quantization {near}" if near else "finetune export --help"
        draft.say(LOST, call.line, f"{call.name}(…)", "exporting is a command of its own, after training", advice)


def _mentioned(call: Object, draft: Draft) -> None:
    message = MENTIONED[call.name]
    if call.name == "gradient_checkpointing_enable":
        draft.assume("gradient_checkpointing", True, f"line {call.line}: {call.name}()")
    draft.say(IDLE, call.line, f"{call.name}(…)", message)
    for setting in call.arguments.values():
        draft.tell(IDLE, setting, message)


def _attribute(call: Object, draft: Draft) -> None:
    for name, setting in call.arguments.items():
        if name == "chat_template":
            _template(setting, draft)
        elif name in ATTRIBUTES:
            draft.tell(IDLE, setting, ATTRIBUTES[name])
        elif isinstance(call.base, Object):
            draft.tell(LOST, setting, "an attribute that the script sets has no counterpart")


def _template(setting: Setting, draft: Draft) -> None:
    if isinstance(setting.value, str):
        draft.put("chat_template", "jinja", Setting(setting.name, "jinja", setting.where))
        draft.put("chat_template_jinja", setting.value, setting)
    else:
        draft.unread(setting)


def _environment(call: Object, draft: Draft) -> None:
    for name, setting in call.arguments.items():
        value: Any = setting.value
        if name in ("WANDB_PROJECT", "WANDB_NAME") and isinstance(value, str):
            draft.put("wandb_project" if name == "WANDB_PROJECT" else "wandb_name", value, setting)
        else:
            draft.tell(IDLE, setting, "a variable of the environment: export it before the run if it is meant")


def read_callbacks(trainer: Object | None, draft: Draft) -> None:
    """EarlyStoppingCallback is a key of the recipe; of the others the table of trainers speaks."""
    given = trainer.get("callbacks") if trainer is not None else None
    for one in given if isinstance(given, list) else ():
        if not isinstance(one, Object) or one.name != "EarlyStoppingCallback":
            continue
        patience, least = one.setting("early_stopping_patience", 0), one.setting("early_stopping_threshold", 1)
        if patience is None:
            draft.assume("early_stopping_patience", 1, f"line {one.line}: EarlyStoppingCallback's default")
        elif isinstance(patience.value, int):
            draft.put("early_stopping_patience", patience.value, patience)
        else:
            draft.unread(patience)
        if least is not None and least.value not in (0, 0.0):
            draft.tell(LOST, least, "any better measurement counts here")
        elif least is not None:
            draft.tell(IDLE, least, "asks for nothing")


def guessed(calls: Sequence[Object], draft: Draft) -> None:
    """Where two branches make a configuration, a model or rows, and only running would tell which is taken."""
    made = {call.where: call.name for call in calls if call.call != GUESS}
    for call in calls:
        if call.call != GUESS or made.get(call.where) not in (*CONFIGURED, *CHOSEN):
            continue
        for name, note in call.arguments.items():
            test = note.name.partition(".")[2]
            message = f"it is another one (line {note.value}) unless `{test[:60]}`; this one is read"
            draft.say(UNREAD, call.line, f"{name} = {made[call.where]}(…)", message, "check it")


def unused(calls: Sequence[Object], draft: Draft) -> None:
    """Configurations in the script that were not seen to belong to the training that is imported."""
    guessed(calls, draft)
    for call in calls:
        for name, own in call.arguments.items() if call.call == OWN_TRAINER else ():
            message = f"its own {', '.join(own.value)} has no counterpart: here the method's usual one is used"
            draft.say(LOST, call.line, f"class {name}", message, "another recipe than the script's, if that matters")
    done = set()
    for call in calls:
        settings = list(call.arguments.values())
        if call.name not in CONFIGURED or not settings or call.where in done:
            continue
        done.add(call.where)
        if any((one.name, one.where) in draft.accounted for one in settings):
            continue
        shown = f"{call.name}({', '.join(one.shown for one in settings)})"
        message = "it was not seen to belong to this training"
        draft.say(UNREAD, call.line, shown[:160], message, "if it does, write its keys into the recipe")
