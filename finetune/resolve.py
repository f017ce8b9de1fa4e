"""recipe + machine -> Plan. Pure: no disk, no network, no heavy import. What cannot be honoured is refused by name."""

from typing import Any

from finetune import methods, several
from finetune.adapters.lora import changes_base
from finetune.answering.planned import answering
from finetune.backends import BACKENDS
from finetune.backends.attach import first_adapter
from finetune.blockers import blockers
from finetune.derived import enough_of
from finetune.errors import Fault, RecipeError
from finetune.exports_planned import export_calls
from finetune.formats import name_of
from finetune.formats.chat import ROLES
from finetune.machine import Machine
from finetune.methods.shared import Setting
from finetune.plan import Call, Plan
from finetune.precision import choose_precision
from finetune.recipe.auto import smallest
from finetune.recipe.data import DatasetEntry
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import SAME, PromptFormat
from finetune.recipe.zero_known import zero_stage
from finetune.templates_planned import template_calls

COLUMNS = ("prompt", "chosen", "rejected", "completion", "label")
SAMPLE_QUESTIONS = 4
"""Questions taken from the validation rows where the recipe names no sample_prompts."""
SAMPLE_PAIRS = 4
"""Pairs whose answers a reward model scores before and after."""


class Refused(RecipeError):
    """A written key that the chosen backend cannot honour. `keys`: which, so that the caller can say on which line."""

    def __init__(self, findings: list[tuple[str, str]]) -> None:
        self.findings = findings
        super().__init__(*(Fault(message) for _, message in findings))


def resolve(recipe: Recipe, machine: Machine) -> Plan:
    """The Plan; what is still left to memory is planned smallest. Refused if the backend cannot honour a key."""
    recipe = smallest(recipe)
    backend, why = _choose_backend(recipe, machine)
    refused = _refusals(recipe, backend)
    if refused:
        raise Refused(refused)
    module = BACKENDS[backend]
    precision = choose_precision(recipe.bf16, recipe.fp16, machine, recipe.adapter is None)
    checkpointing = module.gradient_checkpointing(recipe)
    calls = {
        "load": module.load_calls(recipe, precision, machine),
        "format": _format_calls(recipe, machine.processes),
        "adapt": module.adapt_calls(recipe),
        "train": methods.of(recipe).calls(recipe, Setting(precision, machine, checkpointing, backend)),
        "save": _save_calls(recipe),
        "generate": _generate_calls(recipe),
    }
    notes: tuple[str, ...] = (
        f"backend: {backend}, because {why}",
        f"weights in {precision.dtype}, because {precision.reason}",
    )
    notes += several.notes(recipe, machine)
    return Plan(backend, calls, notes + module.notes(recipe), blockers(recipe, backend, precision, machine))


def _refusals(recipe: Recipe, backend: str) -> list[tuple[str, str]]:
    refuses = BACKENDS[backend].REFUSES
    return [
        (key, f"`{key}` cannot be honoured with `backend: {backend}`: {why}. Remove it, or choose another backend")
        for key, why in refuses.items()
        if key in recipe.model_fields_set and getattr(recipe, key) is not None and _is_set(recipe, key)
    ] + [
        (
            key,
            f"`{key}: {value}` cannot be honoured with `backend: {backend}`: {reasons[value]}. Choose another backend",
        )
        for key, reasons in BACKENDS[backend].REFUSES_VALUES.items()
        if (value := getattr(recipe, key)) in reasons
    ]


def _is_set(recipe: Recipe, key: str) -> bool:
    """Whether a switch that is off by default is on."""
    return getattr(recipe, key) is not False or Recipe.model_fields[key].default is not False


def _choose_backend(recipe: Recipe, machine: Machine) -> tuple[str, str]:
    if recipe.backend != "auto":
        return recipe.backend, "the recipe says so"
    if not machine.cuda:
        return "transformers", f"there is no CUDA GPU ({machine.reasons.get('gpu', 'none found')})"
    if not machine.has("unsloth"):
        return "transformers", "unsloth is not installed"
    if machine.processes > 1:
        return "transformers", "unsloth trains in one process"
    refused = _refusals(recipe, "unsloth")
    if refused:
        return "transformers", f"unsloth cannot honour `{refused[0][0]}`"
    if recipe.rl is not None:
        return "transformers", f"rl: {recipe.rl} is not tested with unsloth; backend: unsloth asks for it"
    if recipe.sample_packing:
        return "transformers", "packed rows train several times faster there than with unsloth (docs/performance.md)"
    return "unsloth", "a CUDA GPU and unsloth are there, and it refuses nothing in the recipe"


def _format_calls(section: Recipe, processes: int) -> tuple[Call, ...]:
    entries = [*section.datasets, *(section.test_datasets or ())]
    kind = methods.of(section).kind
    selection = {
        "val_set_size": section.val_set_size,
        "deduplicate": section.dataset_exact_deduplication,
        "shuffle": section.seed if section.shuffle_before_merging_datasets else None,
        "on_bad_row": section.on_bad_row,
    }
    place = {"folder": section.dataset_prepared_path, "processes": section.dataset_num_proc}
    tokens = {"lengths": _lengths(section, kind), "labels": [_labels(section, entry) for entry in entries]}
    calls = template_calls(section)
    purposes = ["train"] * len(section.datasets) + ["validation"] * len(section.test_datasets or ())
    for group, (purpose, entry) in enumerate(zip(purposes, entries, strict=True)):
        call = _read_call((purpose, entry), section, processes)
        call.arguments["fields"]["group"] = group
        calls.append(call)
    calls.append(Call("finetune.data.prepare.Place", place))
    prepare = {"selection": selection, **tokens}
    calls.append(Call("finetune.data.prepare.Place.prepare", prepare, runtime=("self", "sources", "tokenizer")))
    packed = ["train"] * section.sample_packing + ["validation"] * _packs_validation(section)
    for purpose in packed:
        arguments = {"purpose": purpose, "sequence_len": section.sequence_len}
        calls.append(Call("finetune.data.packing.pack_documents", arguments, runtime=("lengths",)))
    held_out = ["validation"] if section.val_set_size or section.test_datasets is not None else []
    return (*calls, *(_shape(section, kind, purpose) for purpose in ["train", *held_out] if kind != "rows"))


def _shape(section: Recipe, kind: str, purpose: str) -> Call:
    """What makes the trainer's dataset of the prepared rows of a purpose."""
    name = {"pair": "pairs", "judged": "judged", "prompt": "questions"}[kind]
    if section.reward_model:
        name = "scored_pairs"
    return Call(f"finetune.data.shapes.{name}", {"purpose": purpose}, runtime=("prepared",))


def _lengths(section: Recipe, kind: str) -> dict[str, Any]:
    cuts = section.excess_length_strategy == "truncate"
    of_answers = (
        {} if kind == "rows" else {"max_prompt_len": section.max_prompt_len, "keeps_tail": section.reward_model}
    )
    free = methods.online.answer_tokens(section) if kind == "prompt" else 0
    return of_answers | {
        "sequence_len": section.sequence_len - free,
        "kept_free": free,
        "excess_length_strategy": section.excess_length_strategy,
        "truncation_side": section.truncation_side if cuts else "right",
        "min_sample_len": section.min_sample_len,
        "text_chunks": section.text_chunks,
        "max_dropped_share": section.max_dropped_share,
    }


def _labels(section: Recipe, entry: DatasetEntry) -> dict[str, Any]:
    """What is learned of one entry: its own keys, else the recipe's."""
    roles = entry.roles_to_train if entry.roles_to_train is not None else section.roles_to_train
    return {
        "roles_to_train": ["assistant"] if roles is None else sorted({_our_role(role, entry) for role in roles}),
        "train_on_inputs": section.train_on_inputs,
        "train_on_eos": entry.train_on_eos or section.train_on_eos or "turn",
        "train_on_eot": entry.train_on_eot or section.train_on_eot,
        "eot_tokens": section.eot_tokens or [],
        "drop_system_message": entry.drop_system_message,
        "special_tokens_in_content": section.special_tokens_in_content,
        "multiturn": section.multiturn,
    }


def _our_role(role: str, entry: DatasetEntry) -> str:
    """Our name of a role that a recipe may name as the data does."""
    for ours, names in (entry.roles or {}).items():
        if role in ([names] if isinstance(names, str) else names):
            return ours
    return ROLES.get(role, role)


def _packs_validation(section: Recipe) -> bool:
    has_rows = bool(section.val_set_size) or section.test_datasets is not None
    return has_rows and section.sample_packing and section.eval_sample_packing is not False


def _read_call(what: tuple[str, DatasetEntry], section: Recipe, processes: int) -> Call:
    purpose, entry = what
    arguments: dict[str, Any] = {
        "purpose": purpose,
        "path": entry.path,
        "form": _form(entry, methods.of(section).kind),
        "source": _source(entry) | {"on_bad_row": section.on_bad_row, "max_dropped_share": section.max_dropped_share},
        "fields": _fields(entry, methods.of(section).kind),
    }
    if purpose == "train" and section.streaming:
        # Of a source that is not read to its end nobody knows how many rows it has, so nothing is drawn from them.
        arguments["source"]["take"] |= {"weight": 1.0, "max_rows": None}
        arguments["source"]["stream"] = enough_of(entry, section, processes)
    return Call("finetune.data.entries.open_source", arguments)


def _form(entry: DatasetEntry, kind: str) -> str | None:
    if isinstance(entry.type, PromptFormat):
        return "custom" if kind == "rows" else name_of("user_defined", kind)
    return entry.type and name_of(SAME.get(entry.type, entry.type), kind)


def _fields(entry: DatasetEntry, kind: str) -> dict[str, Any]:
    """The arguments of formats.meaning.Fields."""
    named = entry.message_property_mappings.model_dump(exclude_none=True) if entry.message_property_mappings else {}
    return {
        "text": entry.field,
        "messages": entry.field_messages,
        "role": named.pop("role", None),
        "content": named.pop("content", None),
        "properties": named,
        "system": entry.field_system,
        "tools": entry.field_tools,
        "thinking": entry.field_thinking,
        "thinking_key": entry.template_thinking_key,
        "split_thinking": entry.split_thinking,
        "training": entry.message_field_training,
        "training_detail": entry.message_field_training_detail,
        "roles": {ours: [names] if isinstance(names, str) else names for ours, names in (entry.roles or {}).items()},
        "prompt": entry.type.model_dump() if isinstance(entry.type, PromptFormat) else None,
        "columns": {part: name for part in COLUMNS if (name := getattr(entry, f"field_{part}"))},
        "kind": kind,
    }


def _source(entry: DatasetEntry) -> dict[str, Any]:
    return {
        "hub": {"split": entry.split, "name": entry.name, "revision": entry.revision},
        "files": {"data_files": entry.data_files, "ds_type": entry.ds_type, "sample_by": entry.sample_by},
        "take": {
            "filter": entry.filter,
            "shards": entry.shards,
            "shards_idx": entry.shards_idx,
            "max_rows": entry.max_rows,
            "weight": entry.weight,
            "unit": entry.weight_unit,
            "seed": entry.sample_seed,
        },
    }


def _save_calls(recipe: Recipe) -> tuple[Call, ...]:
    adapter = recipe.adapter is not None
    converted = {"path_initial_model_for_weight_conversion": first_adapter(recipe)} if changes_base(recipe) else {}
    folder = f"{recipe.output_dir}/{'adapter' if adapter else 'model'}"
    # Written beside its place and moved there whole, so that a full disk leaves no half adapter.
    partial = {"save_directory": f"{folder}.partial"}
    owner = "peft.PeftModel" if adapter else "transformers.PreTrainedModel"
    # In parts on several GPUs, the weights are gathered first.
    in_parts = recipe.fsdp_version or zero_stage(recipe.deepspeed) == 3
    whole = ("self", "state_dict") if in_parts else ("self",)
    # TRL keeps a copy of the adapter beside it, as the reference that it is compared with.
    alone = {"selected_adapters": ["default"]} if adapter and recipe.rl is not None else {}
    return (
        Call(f"{owner}.save_pretrained", partial | converted | alone, runtime=whole),
        Call("transformers.PreTrainedTokenizerBase.save_pretrained", partial, runtime=("self",)),
        Call("transformers.GenerationConfig.save_pretrained", partial, runtime=("self",)),
        Call("finetune.rundir.publish", {"partial": f"{folder}.partial", "final": folder}),
        *export_calls(recipe),
    )


def _generate_calls(section: Recipe) -> tuple[Call, ...]:
    if section.reward_model:
        pairs = Call("finetune.scoring.sample_pairs", {"from_rows": SAMPLE_PAIRS}, runtime=("prepared", "tokenizer"))
        return (pairs, *answering(section))
    questions = {"prompts": section.sample_prompts, "from_rows": SAMPLE_QUESTIONS}
    return (
        Call("finetune.generation.sample_prompts", questions, runtime=("rows",)),
        *answering(section),
    )
