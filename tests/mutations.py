"""One typo, wrong type or misplaced key in the text of a recipe, made at random. Knows where keys and values stand in
the text; knows no key's type and judges nothing."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from tests.legal_values import WORDS

Path_ = tuple[str | int, ...]
KINDS: dict[str, Callable[["Recipe", random.Random], "Mutation | None"]] = {}
FOREIGN_NAMES = (
    "epochs num_train_epochs max_seq_length max_seq_len cutoff_len per_device_train_batch_size train_batch_size "
    "model_name_or_path model_name model dataset dataset_path template finetuning_type peft_type lora_rank rank r "
    "alpha lora_target target_modules modules_to_save dropout packing lr lr_warmup_steps clip_grad_norm wandb_run_name "
    "early_stopping use_dora quantization_bit flash_attn max_new_tokens temperature eval_dataset random_seed report_to "
    "run_name logging_dir overwrite_output_dir stage do_train bits quant_type double_quant use_peft peft_config "
    "gradient_accumulation batch_size_per_device tokenizer trainer_type max_prompt_length eval_split train_split "
    "dataset_text_field completion_only_loss assistant_only_loss training_arguments lora use_unsloth use_unsloth_gc "
    "compile enable_activation_checkpointing shuffle checkpointer save_model_every neftune bias lora_bias task_type"
).split()
"""Names of LLaMA-Factory, TRL, Unsloth's notebooks and torchtune."""
LOOK_ALIKES = str.maketrans("aceiopxys_-", "асеіорхуѕ＿‐")
INVISIBLE = "\u200b\u200c\u2060\ufeff\u00ad"
WRONG = {
    "text": ("fast", "a lot", "'on top'", "auto-matic", "full"),
    "list": ("[1, 2]", "[a]", "[true]", "[]", "[{a: 1}]", "[[1]]"),
    "mapping": ("{a: 1}", "{value: 3}", "{a: {b: c}}"),
    "flag": ("true", "false", "True", "TRUE", "FALSE"),
    "number": ("0", "1", "-1", "0.5", "7", "3.7", "-0.0001", "1e3"),
    "odd number": ("1e400", "-1e400", ".nan", ".NaN", ".inf", "-.inf", "nan", "inf", "Infinity", "1e30", str(10**30)),
    "null-like": ("none", "None", "nil", "n/a", "NULL ", "undefined", "~~"),
    "quoted number": ("'12'", '"0.5"', "'1e-4'", "'-3'", "'1.0.0'"),
    "underscores": ("1_000", "1_0", "2_048.5", "0_1"),
    "date-like": ("2024-01-01", "12:30", "2024-01-01T00:00:00Z", "1:30:00"),
    "yes and no": ("yes", "no", "on", "off", "Yes", "NO", "y", "n"),
    "unit": ("16GB", "2k", "10%", "3 epochs", "1e-4 lr", "512 tokens", "0.1f", "8bit", "$5", "1,000"),
    "foreign shape": ("0x1G", "1e", "1e-", "--1", "+-1", ".", "1..5", "1.5.2", "0b11", "٣"),
}


@dataclass(frozen=True)
class Spot:
    """A scalar pair or item: where its key and its value stand. `value` is None where it spans lines."""

    path: Path_
    line: int
    column: int
    key: tuple[int, int] | None
    value: tuple[int, int] | None
    kind: str
    flow: bool


@dataclass(frozen=True)
class Recipe:
    """A valid recipe's text. Lines count from 1."""

    text: str
    spots: tuple[Spot, ...] = ()
    lines: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> "Recipe":
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        assert isinstance(node, yaml.MappingNode)
        return cls(text, tuple(_spots(node, (), False)), tuple(text.splitlines(keepends=True)))

    def pairs(self, *, block: bool = False) -> list[Spot]:
        return [spot for spot in self.spots if spot.key and not (block and spot.flow)]

    def values(self) -> list[Spot]:
        return [spot for spot in self.spots if spot.value and spot.value[1] > spot.value[0]]

    def choices(self) -> list[Spot]:
        return [spot for spot in self.values() if spot.key and self.text[slice(*(spot.value or (0, 0)))] in WORDS]

    def with_(self, start: int, end: int, new: str) -> str:
        return self.text[:start] + new + self.text[end:]


@dataclass(frozen=True)
class Mutation:
    """A changed text. `lines`: those that were changed. `near`: those where the reader may notice it as well, since
    they hold the key whose value was broken apart, or the same key again."""

    kind: str
    text: str
    lines: tuple[int, ...]
    near: tuple[int, ...] = field(default=())
    path: Path_ = ()

    @property
    def following(self) -> int:
        """The next line with content, which is where a YAML parser stumbles over an unfinished line."""
        lines = self.text.splitlines()
        for number in range(max(self.lines) + 1, len(lines) + 1):
            if lines[number - 1].strip() and not lines[number - 1].lstrip().startswith("#"):
                return number
        return len(lines) + 1


def _spots(node: yaml.MappingNode, path: Path_, flow: bool) -> Iterator[Spot]:
    flow = flow or bool(node.flow_style)
    for key, value in node.value:
        here = (*path, str(key.value))
        yield _spot(here, key, value, flow)
        yield from _inside(value, here, flow)


def _inside(value: yaml.Node, path: Path_, flow: bool) -> Iterator[Spot]:
    if isinstance(value, yaml.MappingNode):
        yield from _spots(value, path, flow)
    if isinstance(value, yaml.SequenceNode):
        inner = flow or bool(value.flow_style)
        for number, item in enumerate(value.value):
            yield _spot((*path, number), None, item, inner)
            yield from _inside(item, (*path, number), inner)


def _spot(path: Path_, key: Any, value: Any, flow: bool) -> Spot:
    one_line = value.start_mark.line == value.end_mark.line
    mark = (key or value).start_mark
    span = (value.start_mark.index, value.end_mark.index) if one_line else None
    name = (key.start_mark.index, key.end_mark.index) if key else None
    return Spot(path, mark.line + 1, mark.column, name, span, type(value).__name__, flow)


def kind(*names: str) -> Callable[[Any], Any]:
    def register(make: Any) -> Any:
        for name in names or (make.__name__.replace("_", " "),):
            KINDS[name] = (lambda recipe, rng, name=name: make(recipe, rng, name)) if names else make
        return make

    return register


def _key_becomes(recipe: Recipe, spot: Spot, new: str, name: str) -> Mutation | None:
    assert spot.key
    old = recipe.text[slice(*spot.key)]
    if new == old or not new:
        return None
    # The same key a second time is a fault at either line.
    again = [each.line for each in recipe.pairs() if each.path == (*spot.path[:-1], new)]
    return Mutation(name, recipe.with_(*spot.key, new), (spot.line,), tuple(again), spot.path)


def _value_becomes(recipe: Recipe, spot: Spot, new: str, name: str) -> Mutation | None:
    assert spot.value
    if recipe.text[slice(*spot.value)] == new:
        return None
    return Mutation(name, recipe.with_(*spot.value, new), (spot.line,), (), spot.path)


def garbled(word: str, how: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    if how == "dropped":
        return word[:at] + word[at + 1 :]
    if how == "doubled":
        return word[:at] + word[at] + word[at:]
    if how == "swapped":
        at = rng.randrange(max(len(word) - 1, 1))
        return word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :]
    return word[:at] + rng.choice("abcdefghijklmnopqrstuvwxyz0123456789_") + word[at + 1 :]


HOWS = ("dropped", "doubled", "swapped", "replaced")


@kind(*(f"key with a character {how}" for how in HOWS))
def _typo_in_key(recipe: Recipe, rng: random.Random, name: str) -> Mutation | None:
    spot = rng.choice(recipe.pairs())
    return _key_becomes(recipe, spot, garbled(str(spot.path[-1]), name.rsplit(" ", 1)[1], rng), name)


@kind(*(f"choice with a character {how}" for how in HOWS))
def _typo_in_choice(recipe: Recipe, rng: random.Random, name: str) -> Mutation | None:
    spots = recipe.choices()
    if not spots:
        return None
    spot = rng.choice(spots)
    word = recipe.text[slice(*(spot.value or (0, 0)))]
    return _value_becomes(recipe, spot, garbled(word, name.rsplit(" ", 1)[1], rng), name)


@kind("another trainer's key")
def _foreign_key(recipe: Recipe, rng: random.Random, name: str) -> Mutation | None:
    return _key_becomes(recipe, rng.choice(recipe.pairs()), rng.choice(FOREIGN_NAMES), name)


@kind("key in another case", "key with a dash", "key with a look-alike", "key with an invisible character")
def _odd_key(recipe: Recipe, rng: random.Random, name: str) -> Mutation | None:
    spot = rng.choice(recipe.pairs())
    return _key_becomes(recipe, spot, _odd(str(spot.path[-1]), name.removeprefix("key "), rng), name)


@kind("choice in another case", "choice with a dash", "choice with a look-alike", "choice with an invisible character")
def _odd_choice(recipe: Recipe, rng: random.Random, name: str) -> Mutation | None:
    spots = recipe.choices()
    if not spots:
        return None
    spot = rng.choice(spots)
    word = recipe.text[slice(*(spot.value or (0, 0)))]
    return _value_becomes(recipe, spot, _odd(word, name.removeprefix("choice "), rng), name)


def _odd(word: str, how: str, rng: random.Random) -> str:
    at = rng.randrange(len(word))
    if how == "in another case":
        return rng.choice((word.upper(), word.capitalize(), word[:at] + word[at:].capitalize(), word.title()))
    if how == "with a dash":
        return word.replace("_", rng.choice("- ."))
    if how == "with a look-alike":
        return word[:at] + word[at:].translate(LOOK_ALIKES)
    return word[:at] + rng.choice(INVISIBLE) + word[at:]


@kind(*(f"value of another type: {shape}" for shape in WRONG))
def _wrong_type(recipe: Recipe, rng: random.Random, name: str) -> Mutation | None:
    spot = rng.choice([spot for spot in recipe.values() if spot.key])
    return _value_becomes(recipe, spot, rng.choice(WRONG[name.split(": ")[1]]), name)


@kind()
def trailing_mark(recipe: Recipe, rng: random.Random) -> Mutation | None:
    spot = rng.choice([spot for spot in recipe.values() if not spot.flow])
    assert spot.value
    text = recipe.with_(spot.value[1], spot.value[1], rng.choice(",;."))
    return Mutation("trailing mark", text, (spot.line,), (), spot.path)


@kind()
def colon_without_space(recipe: Recipe, rng: random.Random) -> Mutation | None:
    spot = rng.choice([spot for spot in recipe.values() if spot.key])
    assert spot.key and spot.value
    text = recipe.with_(spot.key[1], spot.value[0], ":")
    return Mutation("colon without space", text, (spot.line,), _holders(recipe, spot.path), spot.path)


@kind()
def colon_lost(recipe: Recipe, rng: random.Random) -> Mutation | None:
    spot = rng.choice(recipe.pairs())
    assert spot.key
    text = recipe.with_(spot.key[1], spot.key[1] + 1, "")
    return Mutation("colon lost", text, (spot.line,), _holders(recipe, spot.path), spot.path)


@kind()
def line_twice(recipe: Recipe, rng: random.Random) -> Mutation | None:
    number = rng.choice([spot.line for spot in recipe.pairs()])
    lines = [*recipe.lines[:number], recipe.lines[number - 1], *recipe.lines[number:]]
    return Mutation("line twice", "".join(lines), (number, number + 1), _holders_of_line(recipe, number))


@kind()
def indentation(recipe: Recipe, rng: random.Random) -> Mutation | None:
    number = rng.choice([spot.line for spot in recipe.spots])
    line = recipe.lines[number - 1]
    spaces = len(line) - len(line.lstrip(" "))
    change = rng.choice((-4, -2, -1, 1, 2, 3, 4))
    if spaces + change < 0:
        return None
    mutation = _line_becomes(recipe, number, " " * (spaces + change) + line.lstrip(" "), "indentation")
    return mutation and replace(mutation, near=(*mutation.near, *_block_end(recipe, number)))


def _block_end(recipe: Recipe, number: int) -> tuple[int, ...]:
    """The first line below the block that the line opens, where a parser notices that it stands elsewhere."""
    opens = next(spot.path for spot in recipe.spots if spot.line == number)
    below = [spot for spot in recipe.spots if spot.line > number and spot.path[: len(opens)] != opens]
    return tuple(spot.line for spot in below[:1])


@kind()
def tab(recipe: Recipe, rng: random.Random) -> Mutation | None:
    number = rng.choice([spot.line for spot in recipe.spots])
    line = recipe.lines[number - 1]
    at = rng.choice([found.start() for found in re.finditer(" ", line)] or [0])
    return _line_becomes(recipe, number, line[:at] + "\t" + line[at + 1 :], "tab")


@kind()
def bracket_or_quote_lost(recipe: Recipe, rng: random.Random) -> Mutation | None:
    spots = [spot for spot in recipe.values() if recipe.text[(spot.value or (0,))[0]] in "[{\"'"]
    if not spots:
        return None
    spot = rng.choice(spots)
    assert spot.value
    at = rng.choice((spot.value[0], spot.value[1] - 1))
    name = "quote lost" if recipe.text[at] in "\"'" else "bracket lost"
    return Mutation(name, recipe.with_(at, at + 1, ""), (spot.line,), (), spot.path)


@kind()
def bracket_or_quote_gained(recipe: Recipe, rng: random.Random) -> Mutation | None:
    spot = rng.choice(recipe.values())
    assert spot.value
    at = rng.choice(spot.value)
    text = recipe.with_(at, at, rng.choice("[]{}\"'"))
    return Mutation("bracket or quote gained", text, (spot.line,), (), spot.path)


@kind()
def line_cut_short(recipe: Recipe, rng: random.Random) -> Mutation | None:
    spot = rng.choice(recipe.spots)
    line = recipe.lines[spot.line - 1].rstrip("\n")
    at = rng.randrange(spot.column + 1, max(len(line), spot.column + 2))
    return _line_becomes(recipe, spot.line, line[:at] + "\n", "line cut short")


@kind()
def dash_lost(recipe: Recipe, rng: random.Random) -> Mutation | None:
    found = [number for number, line in enumerate(recipe.lines, 1) if line.lstrip(" ").startswith("- ")]
    if not found:
        return None
    number = rng.choice(found)
    line = recipe.lines[number - 1]
    return _line_becomes(recipe, number, line.replace("- ", rng.choice(("  ", "", "-")), 1), "dash lost")


def _line_becomes(recipe: Recipe, number: int, new: str, name: str) -> Mutation | None:
    if new == recipe.lines[number - 1]:
        return None
    lines = [*recipe.lines[: number - 1], new, *recipe.lines[number:]]
    return Mutation(name, "".join(lines), (number,), _holders_of_line(recipe, number))


def _holders_of_line(recipe: Recipe, number: int) -> tuple[int, ...]:
    """The line of the key that the line is part of, of the key or item above it, of which it may become a part, and of
    the items beside it."""
    inside = [spot for spot in recipe.spots if spot.line == number]
    above = [spot for spot in recipe.spots if spot.line < number]
    found = {line for spot in inside[:1] for line in _holders(recipe, spot.path)}
    keys = [spot for spot in above if spot.key]
    return tuple(sorted({*found, *(spot.line for spot in (*above[-1:], *keys[-1:])), *_beside(recipe, number)}))


def _holders(recipe: Recipe, path: Path_) -> tuple[int, ...]:
    """The line of the key that holds this one; of the recipe itself none."""
    held = [spot.line for spot in recipe.pairs() if spot.path == path[: len(spot.path)] != path]
    return tuple(held[-1:])


def _beside(recipe: Recipe, number: int) -> tuple[int, ...]:
    """The lines of the items of the list that the line is an item of."""
    here = next((spot.path for spot in recipe.spots if spot.line == number and spot.key is None), None)
    items = [spot for spot in recipe.spots if here and spot.key is None and spot.path[:-1] == here[:-1]]
    return tuple(spot.line for spot in items)


@kind()
def misplaced_key(recipe: Recipe, rng: random.Random) -> Mutation | None:
    """A line moved into another mapping: between the top level, the entries of datasets and the sections."""
    whole = [spot for spot in recipe.pairs(block=True) if spot.value]
    alone = [spot for spot in whole if recipe.lines[spot.line - 1].lstrip(" ").startswith(str(spot.path[-1]))]
    spot = rng.choice(alone)
    below = [each for each in alone if each.path[:-1] != spot.path[:-1] and each.line != spot.line]
    if not below or not spot.value:
        return None
    if len(spot.path) == 1:
        below = [each for each in below if len(each.path) > 1]
    target = rng.choice(below) if below else None
    if target is None:
        return None
    moved = " " * target.column + recipe.lines[spot.line - 1].lstrip(" ")
    lines = list(recipe.lines)
    lines.insert(target.line, moved)
    del lines[spot.line - 1 + (spot.line > target.line)]
    number = target.line + 1 - (spot.line < target.line)
    return Mutation("misplaced key", "".join(lines), (number,), (), spot.path)
