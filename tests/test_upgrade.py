"""`finetune upgrade` rewrites old lines and nothing else, and what it writes means what was written before."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.errors import RecipeError
from finetune.machine import assumed
from finetune.recipe.edits import BREAK
from finetune.recipe.load import load_recipe
from finetune.recipe.source import read_text
from finetune.recipe.spellings import rewritten
from finetune.recipe.upgrade import same_recipe, upgraded
from finetune.recipe.writing import block_lines, written
from finetune.resolve import resolve

SHAREGPT = "message_property_mappings: {role: from, content: value}"
CASES = {
    "a new name": ("optim: sgd\n", "optimizer: sgd\n"),
    "its comment and space": ("optim:   sgd   # why\n", "optimizer:   sgd   # why\n"),
    "quotes": ("'optim': \"sgd\"\n", "'optimizer': \"sgd\"\n"),
    "a number's own form": ("adam_eps: 1e-5\n", "adam_epsilon: 1e-5\n"),
    "a word that YAML 1.1 misreads": ("evaluation_strategy: no\n", "eval_strategy: no\n"),
    "a new value in the old quotes": ('gradient_checkpointing: "offload"\n', 'gradient_checkpointing: "unsloth"\n'),
    "name and value": ("flash_attention: true  # fast\n", "attn_implementation: flash_attention_2  # fast\n"),
    "an off line stays": ("flash_attention: false\noptim:\n", "flash_attention: false\noptim:\n"),
    "Windows lines": ("a: 1\r\n\r\noptim: sgd\r\nb: 2\r\n", "a: 1\r\n\r\noptimizer: sgd\r\nb: 2\r\n"),
    "no last line end": ("a: 1\nbnb_4bit_quant_type: nf4", "a: 1\nbnb_config_kwargs:\n  bnb_4bit_quant_type: nf4"),
    "tabs behind a value": ("optim:\tsgd\t# c\n", "optimizer:\tsgd\t# c\n"),
    "an indented file": ("  optim: sgd\n  torch_dtype: half\n", "  optimizer: sgd\n  fp16: true\n"),
    "a first line and a frame": ("%YAML 1.2\n---\noptim: sgd\n...\n", "%YAML 1.2\n---\noptimizer: sgd\n...\n"),
    "an empty new key": ("optimizer:  # o\noptim: sgd\nz: 1\n", "optimizer: sgd  # o\nz: 1\n"),
    "said twice": ("optimizer: sgd\noptim: sgd # c\nz: 1\n", "optimizer: sgd\n# c\nz: 1\n"),
    "several flat keys of one mapping": (
        "bnb_4bit_quant_type: nf4 # a\nz: 1\n\nbnb_4bit_use_double_quant: true # b\n",
        "bnb_config_kwargs: # a\n  bnb_4bit_quant_type: nf4\n  bnb_4bit_use_double_quant: true # b\nz: 1\n\n",
    ),
    "into braces": (
        "bnb_config_kwargs: {bnb_4bit_quant_type: nf4} # e\nbnb_4bit_use_double_quant: true # d\n",
        "bnb_config_kwargs: {bnb_4bit_quant_type: nf4, bnb_4bit_use_double_quant: true} # e\n# d\n",
    ),
    "into a mapping without a value": (
        "bnb_4bit_quant_type: nf4\nbnb_config_kwargs:  # e\n",
        "bnb_config_kwargs:  # e\n  bnb_4bit_quant_type: nf4\n",
    ),
    "several keys for one": (
        "max_packed_sequence_len: 512  # p\nz: 1\n",
        "sample_packing: true  # p\nsequence_len: 512\nz: 1\n",
    ),
    "below a block of text": (
        "bnb_config_kwargs:\n  x: |\n    a # b\n\n\n# c\nbnb_4bit_quant_type: nf4\n",
        "bnb_config_kwargs:\n  x: |\n    a # b\n\n\n  bnb_4bit_quant_type: nf4\n# c\n",
    ),
    "a calculated value": (
        "micro_batch_size: 2\nbatch_size: 8  # all\n",
        "micro_batch_size: 2\ngradient_accumulation_steps: 4  # all\n",
    ),
    "no steps": ("max_steps: -1 # all\n", "max_steps: null # all\n"),
    "ShareGPT": (
        "datasets:\n  - path: x  # p\n    type: sharegpt  # t\n    split: s\n",
        "datasets:\n  - path: x  # p\n    type: chat_template  # t\n    field_messages: conversations\n"
        "    message_property_mappings:\n      role: from\n      content: value\n    split: s\n",
    ),
    "flow style": (
        "datasets: [{path: x, type: sharegpt}, {type: json, path: y}]  # d\n",
        f"datasets: [{{path: x, type: chat_template, field_messages: conversations, {SHAREGPT}}}, {{path: y}}]  # d\n",
    ),
    "JSON": (
        '{"datasets": [{"path": "x", "type": "sharegpt", "field_messages": "c"}], "optim": "sgd"}',
        '{"datasets": [{"path": "x", "type": "chat_template", "message_property_mappings": {"role": "from", '
        '"content": "value"}, "field_messages": "c"}], "optimizer": "sgd"}',
    ),
    "flow style on several lines": (
        "datasets: [\n  {path: x, # p\n   split: s, # s\n   type: json},\n]\n",
        "datasets: [\n  {path: x, # p\n   split: s, # s\n   },\n]\n",
    ),
    "the first key behind a dash": (
        "datasets:\n- type: json  # t\n  path: x\n-   type: csv\n    # c\n    path: y\n",
        "datasets:\n- path: x\n-\n    # c\n    path: y\n",
    ),
    "a line goes and the comment above it stays": (
        "base_model: m\n# c\nbase_model_config: m # d\n\nz: 1\n",
        "base_model: m\n# c\n\nz: 1\n",
    ),
    "the last line goes": ("base_model: m\r\nbase_model_config: m", "base_model: m"),
    "to the top level": (
        "datasets:\n  - conversation: chatml # c\n    path: x\n\nz: 1\n",
        "datasets:\n  - path: x\nchat_template: chatml # c\n\nz: 1\n",
    ),
    "a dataset without a list": (
        "datasets:\n  path: x\n  message_field_role: r # r\n  train_on_split: s\n  message_field_content: c # c\n",
        "datasets:\n  path: x\n  message_property_mappings: # r\n    role: r\n    content: c # c\n  split: s\n",
    ),
    "rows of plain text": (
        "pretraining_dataset:\n  - org/x # c\n  - path: y\n    text_column: t # t\n    name: en\n",
        "datasets:\n  - path: org/x # c\n    type: completion\n"
        "  - path: y\n    field: t # t\n    name: en\n    type: completion\n",
    ),
    "one source of plain text": (
        "pretraining_dataset: org/x # c\nz: 1\n",
        "datasets: # c\n  - path: org/x\n    type: completion\nz: 1\n",
    ),
    "an anchor": ("optim: &o sgd\nwandb_name: *o\n", "optimizer: &o sgd\nwandb_name: *o\n"),
    "an alias": ("wandb_name: &o sgd\noptim: *o # c\n", "wandb_name: &o sgd\noptimizer: *o # c\n"),
    "an entry used twice": (
        "datasets:\n - &d {path: x, type: 'sharegpt', field_messages: m, message_field_role: r}\n - *d\n",
        "datasets:\n - &d {path: x, type: 'chat_template', field_messages: m, message_property_mappings: {role: r}}\n"
        " - *d\n",
    ),
    "FSDP1": (
        "fsdp:\n  - full_shard\n  - auto_wrap\nfsdp_config: # c\n  fsdp_offload_params: true # o\n"
        "  fsdp_sharding_strategy: FULL_SHARD\n  fsdp_transformer_layer_cls_to_wrap: A,B\n",
        "fsdp_version: 2\nfsdp_config: # c\n  offload_params: true # o\n"
        "  reshard_after_forward: true\n  transformer_layer_cls_to_wrap:\n    - A\n    - B\n",
    ),
    "words of a list that go": ("fsdp_version: 2\nfsdp:\n  - full_shard\nz: 1\n", "fsdp_version: 2\nz: 1\n"),
    "a line more": (
        "fsdp_version: 2\nload_in_4bit: true # q\nz: 1\n",
        "fsdp_version: 2\nload_in_4bit: true # q\nbnb_config_kwargs:\n  bnb_4bit_quant_storage: bfloat16\nz: 1\n",
    ),
    "what a line says inside": (
        "model_config:\n  output_router_logits: true\nz: 1\n",
        "z: 1\n",
    ),
    "letters of any width": ("a: é😀 # 中\noptim: sgd # 😀\n", "a: é😀 # 中\noptimizer: sgd # 😀\n"),
    "an explicit key": ("? optim\n: sgd\n", "? optimizer\n: sgd\n"),
    "a folded value": ("optim: 'sgd\n\n  x' # c\nz: 1\n", "optimizer: 'sgd\n\n  x' # c\nz: 1\n"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_old_line_is_rewritten_and_nothing_else(case: str) -> None:
    old, new = CASES[case]
    text, changes = upgraded("r.yaml", old)
    assert text == new
    assert bool(changes) == (old != new)
    assert same_recipe(old, new)
    assert upgraded("r.yaml", new) == (new, [])


@pytest.mark.parametrize(
    "text",
    [
        "x: &d {type: json, path: x}\ndatasets: [*d]\n",
        "a: &a {optim: sgd}\n<<: *a\n",
        "optim: sgd\ndatasets: [{path: x, type: json\n # c\n , split: s}]\n",
        "datasets: [path: x, type: sharegpt]\n" + "datasets2: [type: sharegpt]\n",
        "base_model: &m m\ntokenizer_config: *m\nbase_model_config: &n m\nwandb_name: *n\n",
        "datasets:\n  - type: json\n",
        "fsdp:\n  - full_shard # all of it\n",
    ],
)
def test_what_cannot_be_rewritten_safely_is_left_to_the_user_or_stays_right(text: str) -> None:
    try:
        new, _ = upgraded("r.yaml", text)
    except RecipeError as error:
        assert all(fault.where and fault.where.line and "by hand" in fault.message for fault in error.faults)
    else:
        assert same_recipe(text, new)


def test_contradictions_are_faults() -> None:
    with pytest.raises(RecipeError, match=r"r.yaml:1:1: error: `optim` and `optimizer` say the same thing"):
        upgraded("r.yaml", "optim: sgd\noptimizer: lion\n")


def test_a_mapping_that_holds_no_mapping_is_a_fault_and_no_crash() -> None:
    with pytest.raises(RecipeError, match="say the same thing"):
        upgraded("r.yaml", "bnb_4bit_quant_type: nf4\nbnb_config_kwargs: 5\n")
    entry = "datasets: [{path: x, message_field_role: a, message_property_mappings: {role: b}}]\n"
    with pytest.raises(RecipeError, match=r"keep the second"):
        upgraded("r.yaml", entry)


VALUES = [
    None,
    True,
    0,
    -3,
    1e-5,
    2.5,
    float("inf"),
    "",
    "no",
    "1e-5",
    "0x1",
    "a: b",
    "x # y",
    "it's",
    '"',
    "é",
    "a\nb",
]


@pytest.mark.parametrize("value", [*VALUES, {"a": VALUES, "b": {"c": "no", "d": {}}}, [[1], {"e": []}]], ids=repr)
def test_written_values_are_read_back_as_they_were(value: object) -> None:
    assert read_text("", f"k: {written(value)}").data == {"k": value}
    assert read_text("", written({"k": value}, as_json=True)).data == {"k": value}
    assert read_text("", "\n".join(block_lines({"k": value}, 2))).data == {"k": value}


# The same recipe resolves to the same plan.
BASE = "base_model: org/m\noutput_dir: o\nmicro_batch_size: 2\n"
DATA = "datasets:\n  - path: org/d\n"
RECIPES = [
    DATA + "adapter: lora\noptim: sgd\nlr_scheduler_type: linear\nuse_rslora: true\n",
    DATA + "flash_attention: true\nbfloat16: true\nadam_eps: 1e-6\nmax_steps: -1\n",
    DATA + "sdp_attention: true\ntorch_dtype: torch.float16\nbatch_size: 8\n",
    DATA + "adapter: qlora\nload_in_4bit: true\nbnb_4bit_quant_type: fp4\nbnb_4bit_use_double_quant: false\n",
    DATA + "val_set_size: 0.1\nevaluation_strategy: epoch\nmax_packed_sequence_len: 512\n",
    DATA + "    type: sharegpt\n    conversation: chatml\n    train_on_split: s\n",
    DATA
    + "    type: chat_template.default\n    message_field_role: r\n    message_field_content: c\n    ds_type: json\n",
    "pretraining_dataset:\n  - path: org/d\n    type: pretrain\n    text_column: t\n",
    DATA + "base_model_config: org/m\nnoisy_embedding_alpha: 5\ntf32: auto\ngradient_checkpointing: offload\n",
]


@pytest.mark.parametrize("number", range(len(RECIPES)))
def test_the_upgraded_recipe_gives_the_same_plan(tmp_path: Path, number: int) -> None:
    plans = []
    old = BASE + RECIPES[number]
    for name, text in (("old", old), ("new", upgraded("", old)[0])):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        checked = load_recipe(path)
        notes = [note for note in checked.notes if note.code == "FT010"]
        assert bool(notes) == (name == "old")
        plans.append(json.dumps(resolve(checked.recipe, assumed()).as_json(), sort_keys=True, default=str))
    assert plans[0] == plans[1]


def test_a_recipe_that_extends_another_is_rewritten_alone(
    tmp_path: Path, finetune: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "base.yaml").write_text(BASE + DATA + "optim: lion\n")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\noptim: sgd\n")
    assert finetune("upgrade", tmp_path / "top.yaml")[0] == 0
    assert (tmp_path / "top.yaml").read_text() == "extends: base.yaml\noptimizer: sgd\n"
    assert "optim: lion" in (tmp_path / "base.yaml").read_text()
    assert load_recipe(tmp_path / "top.yaml").recipe.optimizer == "sgd"


# One of each group, in any order. A line without an old spelling must come through as it is.
GROUPS = (
    ("optim: sgd", "optim: 'sgd'", "optimizer: sgd", "optimizer:\noptim: sgd", "optim:"),
    ("flash_attention: true", "sdp_attention:   true", "attn_implementation: xformers", "flash_attention: false"),
    ("max_steps: -1", "max_steps: 5", "tf32: auto"),
    ("batch_size: 8\nmicro_batch_size: 2", "micro_batch_size: 1\nbatch_size: 3", "gradient_accumulation_steps: 2"),
    ("bnb_4bit_quant_type: nf4", "bnb_config_kwargs: {bnb_4bit_quant_type: nf4}", "bnb_config_kwargs:"),
    ("bnb_4bit_use_double_quant: true", "bnb_4bit_compute_dtype: torch.bfloat16"),
    ("max_packed_sequence_len: 512\nsequence_len: 512", "max_packed_sequence_len: 512", "sequence_len: 5"),
    ("torch_dtype: bfloat16", "bf16: full", "bfloat16: true\nbf16:"),
    ("chat_template_jinja: |\n  a # b\n\n  c", "wandb_name: >-\n    x\n\n    y", "wandb_name: 'a\n  b'"),
)
QUIET = ("learning_rate: 2e-4", '"lora_r":   8', "lora_alpha: 16\t# tab", "sample_prompts: [a, 'b',\n  c]")
ENTRY = (
    ("type: sharegpt", "type: json", "type: chat_template.load", "type: alpaca"),
    ("conversation: chatml", "shards: null"),
    ("train_on_split: s", "split: s"),
    ("ds_type: json", "message_field_role: r", "message_property_mappings: {role: r}"),
    ("message_field_content: c",),
)


def a_recipe(dice: random.Random) -> str:
    """Old and new lines in any order, with comments, empty lines and any line end."""
    marks = iter(range(10_000))

    def dressed(line: str) -> str:
        behind = dice.random() < 0.4 and "\n" not in line and "#" not in line
        above = f"# above {next(marks)}\n" if dice.random() < 0.2 else ""
        return dice.choice(["", "", "\n"]) + above + line + (f" # behind {next(marks)}" if behind else "")

    def lines(groups: tuple[tuple[str, ...], ...]) -> list[str]:
        chosen = [dice.choice(group) for group in groups if dice.random() < 0.6]
        found = []
        for text in chosen:
            # A value on several lines stays whole; two keys may come apart.
            found += [text] if "\n " in text or "\n\n" in text else text.split("\n")
        dice.shuffle(found)
        return found

    def entry(path: str) -> str:
        keys = [f"path: {path}", *lines(ENTRY)]
        if "type: alpaca" in keys and "conversation: chatml" in keys:
            keys.remove("conversation: chatml")  # refused together
        dice.shuffle(keys)
        if dice.random() < 0.3:
            return "  - {" + dice.choice([", ", ",\n     "]).join(keys) + dice.choice(["}", " }", ",}"])
        text = "\n".join(dressed(key) for key in keys).strip("\n")
        if text.startswith("#"):
            text = "\n" + text  # a comment may not stand behind the dash with the key below
        first, *rest = text.split("\n")
        return "\n".join([f"  - {first}".rstrip(), *(f"    {line}" if line else "" for line in rest)])

    datasets = "datasets:\n" + "\n".join(entry(path).rstrip("\n") for path in ("x", "y")[: dice.randint(1, 2)])
    parts = [dressed(line) for line in [*lines(GROUPS), *QUIET]] + [datasets]
    dice.shuffle(parts)
    text = "\n".join(parts) + dice.choice(["", "\n", "\n\n# end\n"])
    return text.replace("\n", dice.choice(["\n", "\r\n"]))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_any_mixture_of_old_and_new_lines_comes_out_the_same_and_today(dice: random.Random) -> None:
    old = a_recipe(dice)
    new, changes = upgraded("r.yaml", old)
    assert same_recipe(old, new)
    assert upgraded("r.yaml", new) == (new, [])
    before, after = BREAK.split(old), BREAK.split(new)
    rest = iter(after)
    kept = [
        line for line in before if line.lstrip().startswith("# above") or line.strip() in BREAK.split("\n".join(QUIET))
    ]
    assert all(line in rest for line in kept), "lines that are not old stay as they are, in their order"
    gone = {change.where.line for change in changes if not change.new}
    for number, line in enumerate(before, 1):
        if number not in gone and " # behind" in line:
            assert line[line.index("# behind") :] in new
    assert set(BREAK.findall(new)) <= set(BREAK.findall(old))
    # Where the last line goes, an empty line above it becomes the last.
    assert old.endswith("\n") == new.endswith("\n") or before[-2] == ""


# The command.
OLD = "# mine\r\nbase_model: m\r\noptim: sgd  # o\r\nz: é"
NEW = OLD.replace("optim", "optimizer")
Run = Callable[..., tuple[int, str, str]]


def recipe(folder: Path, text: str = OLD, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_rewritten_and_what_was_done_is_said(tmp_path: Path, finetune: Run) -> None:
    path = recipe(tmp_path)
    path.chmod(0o640)
    assert finetune("upgrade", path) == (
        0,
        f"{path}:3:1: optim: sgd -> optimizer: sgd\n{path}: 1 old spelling rewritten\n",
        "",
    )
    assert path.read_bytes() == b"\xef\xbb\xbf" + NEW.encode()
    assert path.stat().st_mode & 0o777 == 0o640
    assert finetune("upgrade", path) == (0, f"{path}: nothing to rewrite\n", "")
    assert names(tmp_path) == ["r.yaml"]


def test_check_and_diff_write_nothing(tmp_path: Path, finetune: Run) -> None:
    path = recipe(tmp_path)
    before = path.read_bytes()
    code, out, _ = finetune("upgrade", "--check", path)
    assert code == 3 and "1 old spelling to rewrite" in out
    code, out, _ = finetune("upgrade", "--diff", path)
    assert code == 0
    assert "-optim: sgd  # o\r\n+optimizer: sgd  # o\r\n z: é\n\\ No newline at end of file\n" in out
    assert finetune("upgrade", "--diff", "--check", path)[0] == 3
    assert path.read_bytes() == before
    path.write_text("base_model: m\n")
    assert finetune("upgrade", "--check", path)[0] == 0
    assert finetune("upgrade", "--diff", path) == (0, "", "")


def test_a_link_stays_and_its_target_is_rewritten(tmp_path: Path, finetune: Run) -> None:
    path = recipe(tmp_path)
    (tmp_path / "link.yaml").symlink_to("r.yaml")
    assert finetune("upgrade", tmp_path / "link.yaml")[0] == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert b"optimizer" in path.read_bytes()


def test_a_faulty_file_is_left_and_the_others_are_rewritten(tmp_path: Path, finetune: Run) -> None:
    files = {
        "a": "optim: [\n",
        "b": "optim: sgd\noptimizer: lion\n",
        "c": "x: &d {type: json, path: x}\ndatasets: [*d]\noptim: sgd\n",
        "d": "",
    }
    for name, text in files.items():
        recipe(tmp_path, text, f"{name}.yaml")
    good = recipe(tmp_path, name="e.yaml")
    code, out, err = finetune("upgrade", tmp_path, tmp_path / "none.yaml")
    assert code == 3
    for name, says in {"a": "not YAML", "b": "say the same", "c": "by hand", "d": "empty", "none": "no such"}.items():
        assert any(f"{name}.yaml" in line and says in line for line in err.splitlines()), name
    for name, text in files.items():
        assert (tmp_path / f"{name}.yaml").read_bytes().decode("utf-8-sig") == text
    assert "optimizer" in good.read_text() and "e.yaml: 1 old" in out


def test_what_cannot_be_written_is_said_without_a_traceback(tmp_path: Path, finetune: Run) -> None:
    path = recipe(tmp_path)
    path.chmod(0o444)
    code, _, err = finetune("upgrade", path)
    assert code == 3 and "read-only" in err
    assert "optim:" in path.read_text()
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for odd in ("pipe.yaml", "loop.yaml", "n" * 300 + ".yaml"):
        code, _, err = finetune("upgrade", tmp_path / odd)
        assert code == 3 and err.startswith(str(tmp_path))
    assert names(tmp_path) == ["loop.yaml", "pipe.yaml", "r.yaml"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, finetune: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recipe(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = finetune("upgrade", path)
    assert code == 3 and "No space left" in err
    assert names(tmp_path) == ["r.yaml"] and "optim:" in path.read_text()


def test_every_old_key_has_a_recipe_here() -> None:
    """A new spelling brings its case: each key that the spellings know alone is rewritten in some recipe above."""
    from finetune.recipe.spellings import OTHER_OLD_KEYS

    seen = {each.path[0] for old, _ in CASES.values() for each in rewritten(read_text("", old))[1]}
    for text in RECIPES:
        seen |= {each.path[0] for each in rewritten(read_text("", BASE + text))[1]}
    assert set(OTHER_OLD_KEYS) <= seen
