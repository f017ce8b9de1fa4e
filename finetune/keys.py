"""docs/keys.md: every key of a recipe with its type, default, meaning and the calls it reaches. Generated from the
models and from flipping each key; holds no fact about a key but which are ours alone."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from finetune.backends import BACKENDS
from finetune.compare import ABSENT, Change
from finetune.effects import Path_, as_written, effect, field_at, flips_at, keys_of, lists_sections, model_at
from finetune.errors import Fault, FinetuneError
from finetune.judge import alternatives, section_of
from finetune.machine import Machine, assumed
from finetune.readable import reach_texts, type_text, value_text
from finetune.recipe import dataset_spellings, foreign, spellings
from finetune.recipe.base import key_texts, reach_of
from finetune.recipe.data import DatasetEntry
from finetune.recipe.method import TrlConfig
from finetune.recipe.parallel import FsdpConfig
from finetune.recipe.recipe import SECTIONS, Recipe
from finetune.recipe.rules import broken_rules
from finetune.recipe.source import Source
from finetune.resolve import resolve

OWN = frozenset(
    """
    allow_pickle_weights backend cuda_graphs data_seed dataloader_persistent_workers eta_min
    eval_generation_rows eval_labels export_quantization export_to full_determinism generation_min_p
    generation_repetition_penalty generation_seed generation_stop lora_kernels max_dropped_share multiturn
    on_bad_row recipe_version resume_changed roles_to_train sample_prompts sample_steps
    special_tokens_in_content text_chunks tokens_per_pass train_on_eos train_on_eot truncation_side
    load_in_torchao ia3_feedforward_modules ia3_target_modules num_virtual_tokens prefix_projection
    prompt_encoder_dropout prompt_encoder_hidden_size prompt_encoder_layers prompt_encoder_type
    prompt_tuning_init_text
    """.split()
)
"""Recipe keys that Axolotl's configuration does not have, or only for one source."""
CONTEXTS: tuple[Mapping[str, Any], ...] = (
    {},
    {"adapter": "lora", "gradient_checkpointing": True},
    {"adapter": "qlora", "load_in_4bit": True},
    {"adapter": "lora", "load_in_8bit": True, "pad_to_sequence_len": True, "val_set_size": 0.1},
)
"""What each key is flipped in, on each backend: what it reaches is what it reaches in any of them."""
MINIMUM: Mapping[str, Any] = {
    "base_model": "m",
    "datasets": [{"path": "d", "type": "chat_template"}],
    "output_dir": "o",
}
INTRO = """# Keys of a recipe

Every key with its type, its default, what it means, and the call and argument that it sets with each backend. Where
nothing else is said, Axolotl has the key under the same name. `finetune explain RECIPE KEY` says the same for a recipe
and a machine.

`null` or an empty value always means "as if not written". This page is written by the program.
"""

OLD = """## Old spellings

Understood, with a note that shows today's. What the program says to an example of each:
"""
ACCEPTED = """## Accepted without effect

Keys of Axolotl that ask for what happens anyway, or for what the trained result does not hang on. A value that asks for
something else is refused.
"""
REFUSED = """## Refused by name

Keys of Axolotl that are not honoured. Switched off (null, false, empty), they are accepted.
"""


def keys_page() -> str:
    """The text of docs/keys.md."""
    parts = [INTRO, _contents()]
    seen: set[str] = set()
    for name, section in SECTIONS.items():
        parts.append(f"## {name.capitalize()}\n")
        for key in [key for key in keys_of(section) if key not in seen]:
            seen.add(key)
            parts += _entry((key,))
    parts += [OLD, *_old_spellings(), ACCEPTED, *_refused(waived=True), REFUSED, *_refused(waived=False)]
    return "\n".join(parts).rstrip() + "\n"


def _contents() -> str:
    lines = []
    seen: set[str] = set()
    for name, section in SECTIONS.items():
        keys = [key for key in keys_of(section) if key not in seen]
        seen.update(keys)
        lines.append(f"- [{name.capitalize()}](#{name}): " + ", ".join(f"[`{key}`](#{key})" for key in keys))
    for title in (OLD, ACCEPTED, REFUSED):
        name = title.splitlines()[0].removeprefix("## ")
        lines.append(f"- [{name}](#{name.lower().replace(' ', '-')})")
    return "\n".join(lines) + "\n"


def _entry(path: Path_) -> Iterator[str]:
    """A key's paragraphs, and those of the keys inside it."""
    model, key = model_at(path), str(path[-1])
    field = field_at(path)
    name = ".".join(part if isinstance(part, str) else "N" for part in path)
    schema = _schema_of(model)["properties"][key]
    default = "must be written" if field.is_required() else f"default: {value_text(field.default)}"
    facts = [type_text(schema), default]
    needs = reach_of(model, key).needs
    if needs:
        facts.append("counts with " + " and ".join(f"`{need}: {value_text(value)}`" for need, value in needs.items()))
    if key in OWN and len(path) == 1:
        facts.append("own key: not in Axolotl's configuration")
    yield f"{'###' if len(path) == 1 else '####'} {name}\n"
    yield f"{key_texts(model)[key]}\n"
    yield " · ".join(facts) + "\n"
    yield "\n".join(f"- {backend}: {_reached(path, backend)}" for backend in BACKENDS) + "\n"
    section = section_of(field.annotation)
    # The keys of validation sources are those of the training data.
    for inner in keys_of(section) if section is not None and key != "test_datasets" else ():
        yield from _entry((*path, 0, inner) if lists_sections(field.annotation) else (*path, inner))


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _reached(path: Path_, backend: str) -> str:
    module, key = BACKENDS[backend], str(path[0])
    for word, reasons in (("refused", module.REFUSES), ("without effect", module.WAIVES)):
        if key in reasons:
            return f"{word}: {reasons[key]}"
    texts = reach_texts(list(reach(path, backend)), short=False)
    if path == ("backend",):
        return "chooses every call of loading the model and attaching the adapter"
    if texts:
        return ", ".join(f"`{text}`" for text in texts)
    refused = next((need for need in reach_of(model_at(path), str(path[-1])).needs if need in module.REFUSES), None)
    return f"refused with `{refused}`, which it needs" if refused else "no call: the program itself heeds it"


def reach(path: Path_, backend: str) -> Iterator[Change]:
    """Each place of the Plan that the key moves in one of the contexts, without values."""
    machine = assumed()
    found: dict[tuple[str, str, str], Change] = {}
    recipes = [recipe for context in CONTEXTS for recipe in _recipes_for(path, backend, context)]
    # A key that counts in none of them may hang on another: each of those is flipped too.
    for tried in (recipes, () if path == ("backend",) else (near for recipe in recipes for near in _near(recipe))):
        for recipe in tried:
            for change in _changes(recipe, machine, path):
                place = (change.stage, change.target, change.argument)
                found.setdefault(place, Change(*place, ABSENT, ABSENT))
        if found:
            break
    whole = {place[:2] for place in found if not place[2]}
    yield from (change for place, change in found.items() if not place[2] or place[:2] not in whole)


def _near(recipe: Recipe) -> Iterator[Recipe]:
    for key in keys_of(Recipe):
        for flipped in flips_at(recipe, (key,)) if key != "backend" else ():
            if not broken_rules(as_written(flipped)):
                yield flipped


def _changes(recipe: Recipe, machine: Machine, path: Path_) -> tuple[Change, ...]:
    try:
        return effect(recipe, resolve(recipe, machine), machine, path).changes
    except FinetuneError:
        return ()


def _recipes_for(path: Path_, backend: str, context: Mapping[str, Any]) -> Iterator[Recipe]:
    """A recipe in which the key can count, if the context allows one."""
    outer = str(path[0])
    values = {**MINIMUM, "backend": backend, **context, **reach_of(Recipe, outer).needs}
    if len(path) > 1 and outer not in values:
        around = alternatives(Recipe.model_fields[outer])[0]
        inside = dict(reach_of(model_at(path), str(path[-1])).needs)
        values[outer] = around | inside if isinstance(around, dict) else around
    trials = [values]
    if len(path) == 1:
        trials += [values | {outer: value} for value in alternatives(field_at(path))]
    for trial in trials:
        if not broken_rules(trial):
            try:
                yield Recipe.model_validate(trial)
            except ValidationError:
                continue
            return


def _old_spellings() -> Iterator[str]:
    """What the reader of recipes says about each, asked by giving it one."""
    notes = dict.fromkeys([*_notes_of_keys(), *_notes_of_entries()])
    yield "\n".join(f"- {note}" for note in notes) + "\n"


VALUES: tuple[Any, ...] = (True, 4, 2048, "bfloat16", "nf4", "name", {"load_in_4bit": True}, [{"path": "d"}], "d")
"""Tried one after the other until an old key is understood."""


def _notes_of_keys() -> Iterator[str]:
    old = {name for table in vars(spellings).values() if isinstance(table, Mapping) for name in table}
    old |= {*spellings.OTHER_OLD_KEYS, *spellings.QUANTIZATION}
    for key in sorted(str(name) for name in old):
        new = spellings.RENAMED.get(key)
        values = (*(alternatives(Recipe.model_fields[new]) if new else ()), *VALUES)
        if key not in Recipe.model_fields:
            yield from _first(_notes({**MINIMUM, key: value}) for value in values)
        for value in spellings.VALUES.get(key, ()):
            yield from _notes({**MINIMUM, key: value})


def _notes_of_entries() -> Iterator[str]:
    tables = [table for table in vars(dataset_spellings).values() if isinstance(table, Mapping)]
    names = {str(name) for table in tables for name in table} | {"conversation"}
    for key in sorted(names - set(keys_of(DatasetEntry))):
        values = ("json", "chatml", "name")
        yield from _first(_notes({**MINIMUM, "datasets": [{"path": "d", key: value}]}) for value in values)
    for kind in (*sorted(dataset_spellings.FILE_TYPES), "sharegpt"):
        yield from _notes({**MINIMUM, "datasets": [{"path": "d", "type": kind}]})


def _first(answers: Iterator[list[str]]) -> list[str]:
    return next((found for found in answers if found), [])


def _notes(data: dict[str, Any]) -> list[str]:
    try:
        _, notes, faults = spellings.today(Source("recipe", data))
    except (FinetuneError, TypeError, AttributeError, LookupError, ValueError):
        return []  # a value of a type that the key cannot have
    said: list[Fault] = [] if faults else notes
    return [fault.message for fault in said]


def _refused(waived: bool) -> Iterator[str]:
    """Grouped by reason, since many share one."""
    tables = (
        ("", "", foreign.RECIPE_KEYS, Recipe),
        ("In an entry of datasets: ", "datasets", foreign.DATASET_KEYS, DatasetEntry),
        ("In `trl`: ", "trl", foreign.TRL_KEYS, TrlConfig),
        ("In `fsdp_config`: ", "fsdp_config", foreign.FSDP_KEYS, FsdpConfig),
    )
    for opening, inside, keys, model in tables:
        groups: dict[str, list[str]] = {}
        accepted = foreign.WAIVERS[inside]
        for key in sorted(key for key in keys - set(keys_of(model)) if (key in accepted) is waived):
            reason = accepted[key][1] if waived else _reason(key, inside)
            groups.setdefault(reason, []).append(key)
        for reason, names in groups.items():
            yield f"- {opening}{', '.join(f'`{key}`' for key in names)}: {reason.rstrip('.')}."
    yield ""


def _reason(key: str, inside: str) -> str:
    return foreign.refusal(key, inside).removeprefix(f"`{key}` is a key that Axolotl knows, but ")
