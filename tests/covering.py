"""Valid recipes that together write every key there is, as text in block and in flow style, with comments and blank
lines."""

import random
import tempfile
from pathlib import Path
from typing import Any

import yaml

from finetune.commands.checking import resolved
from finetune.errors import RecipeError
from finetune.machine import Machine, assumed
from finetune.recipe.base import reach_of
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe

MACHINES = (assumed(), Machine(packages=assumed().packages))
"""As `validate` has them: with a GPU and without one."""
SIZE = 30
"""Keys of a recipe at most, as long recipes have them."""
ENTRIES: list[dict[str, Any]] = [
    {
        "path": "org/talks",
        "type": "chat_template",
        "split": "train",
        "name": "en",
        "revision": "v2",
        "field_messages": "conversations",
        "message_property_mappings": {
            "role": "from",
            "content": "value",
            "tool_calls": "calls",
            "tool_call_id": "call",
            "name": "who",
            "reasoning_content": "why",
            "thinking": "thoughts",
        },
        "field_system": "rules",
        "field_tools": "functions",
        "field_thinking": "why",
        "template_thinking_key": "thinking",
        "split_thinking": True,
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
        "train_on_eot": "turn",
        "message_field_training": "train",
        "message_field_training_detail": "parts",
        "drop_system_message": True,
        "roles": {"user": ["me"], "assistant": ["bot", "it"], "system": "rules"},
    },
    {"path": "org/books", "type": "completion", "field": "body", "split": "train"},
    {
        "path": "data",
        "data_files": ["a.jsonl", "b.jsonl"],
        "ds_type": "json",
        "filter": "{{ row.n > 3 }}",
        "shards": 4,
        "shards_idx": 1,
        "max_rows": 100,
        "weight": 0.5,
        "weight_unit": "tokens",
        "sample_seed": 3,
    },
    {"path": "notes", "ds_type": "text", "sample_by": "paragraph", "type": "completion"},
    {
        "path": "org/tasks",
        "type": {
            "field_instruction": "question",
            "field_input": "context",
            "field_output": "answer",
            "field_system": "rules",
            "format": "{instruction} ({input}): ",
            "no_input_format": "{instruction}: ",
            "system_prompt": "Be brief.",
            "system_format": "[{system}] ",
            "as_turns": True,
        },
    },
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
NESTED: dict[str, Any] = {
    "datasets": ENTRIES,
    "test_datasets": ENTRIES[:1],
    "lr_groups": [{"name": "attention", "modules": ["q_proj"], "lr": 1e-5}],
    "special_tokens": TOKENS | {"additional_special_tokens": ["<tool>", "<end>"]},
    "model_quantization_config_kwargs": {"dequantize": True, "modules_to_not_convert": ["lm_head"]},
    "peft": {"loftq_config": {"loftq_bits": 4}},
    "fsdp_config": {"offload_params": True, "reshard_after_forward": False, "transformer_layer_cls_to_wrap": "Layer"},
    "bnb_config_kwargs": {
        "bnb_4bit_quant_type": "fp4",
        "bnb_4bit_use_double_quant": False,
        "bnb_4bit_compute_dtype": "float16",
        "bnb_4bit_quant_storage": "uint8",
    },
}
MINIMUM: dict[str, Any] = {"base_model": "org/model", "datasets": [{"path": "org/data"}], "output_dir": "outputs/run"}
PAIRS: list[dict[str, Any]] = [
    {"path": "org/pairs", "field_prompt": "ask", "field_chosen": "good", "field_rejected": "bad"},
    {
        "path": "org/more",
        "type": {"prompt_format": "Q: {prompt}", "chosen_format": "{chosen}.", "rejected_format": "{rejected}."},
    },
]
JUDGED: list[dict[str, Any]] = [
    {"path": "org/judged", "field_prompt": "ask", "field_completion": "answer", "field_label": "liked"},
    {"path": "org/more", "type": {"field_prompt": "ask", "completion_format": "{completion}."}},
]
FAMILIES: tuple[dict[str, Any], ...] = (
    {"adapter": "qlora", "load_in_4bit": True},
    {"adapter": "lora", "backend": "transformers"},
    {"optimizer": "adamw_torch"},
    {"adapter": "lora", "backend": "unsloth"},
    *(
        {"backend": "transformers", "datasets": [{"path": "org/pairs"}]} | method
        for method in (
            {"rl": "ipo", "datasets": PAIRS},
            {"rl": "kto", "datasets": JUDGED},
            {"rl": "dpo", "dpo_loss_type": ["sigmoid", "hinge"]},
            {"rl": "orpo"},
            {"rl": "simpo"},
            {"rl": "kto"},
            {"reward_model": True},
            {"rl": "grpo", "trl": {"reward_funcs": ["org/reward"], "num_generations": 4}},
        )
    ),
)
HEADERS = (
    '# yaml-language-server: $schema=../schemas/recipe.schema.json\n#\n# Written for a test: 2 x "as it is".\n\n',
    "---\n",
    "\n# adapter: lora\n",
)
OLD = """\
base_model: org/model
base_model_config: org/model
datasets:
  - path: org/talks
    ds_type: json
    type: sharegpt
    train_on_split: train
dataset_processes: 4         # understood
sequence_len: 1024

flash_attention: true
xformers_attention:
bnb_4bit_quant_type: nf4
bfloat16: true
fsdp:
fsdp_config:
deepspeed:                   # off
gptq: false
adapter: lora
lora_r: 8
micro_batch_size: 2
batch_size: 8
lr_scheduler_type: cosine
optim: adamw_torch
learning_rate: 1e-4
eval_sample_packing: false
output_dir: outputs/old
"""
EXTENDING = """\
extends: base.yaml
silence:
  FT012: "a small model learns well so"
learning_rate: 1e-2
lora_r: 32
sample_prompts:
  - How are you?
  - 'What is a frog?'
"""
BASE = "base_model: org/model\ndatasets: [{path: org/data}]\nadapter: lora\noutput_dir: outputs/run\n"
"""What EXTENDING extends; lies beside it as base.yaml."""


def recipes() -> list[str]:
    """The texts: every key of the recipe in block style, again in flow style, old spellings and a header."""
    rng = random.Random(7)
    found = values_of_every_key()
    block = [block_text(values, rng) for values in found]
    return [*block, *(flow_text(values, rng) for values in found), OLD, EXTENDING]


def values_of_every_key() -> list[dict[str, Any]]:
    """Recipes that stand and together hold every key, each greedily filled with what fits."""
    todo = [key for key in Recipe.model_fields if key not in MINIMUM]
    random.Random(3).shuffle(todo)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        while todo:
            before = len(todo)
            for family in FAMILIES:
                values = MINIMUM | {"datasets": ENTRIES} | family
                for key in list(todo):
                    trial = _with(values, key)
                    if len(trial) <= SIZE and _stands(trial, path):
                        values = trial
                todo = [key for key in todo if key not in values]
                found.append(values)
            assert len(todo) < before, f"no recipe can hold {todo}"
    return found


def _with(values: dict[str, Any], key: str) -> dict[str, Any]:
    field = Recipe.model_fields[key]
    example = NESTED.get(key, (field.examples or [not field.default])[0])
    return reach_of(Recipe, key).needs | values | {key: example}


def _stands(values: dict[str, Any], path: Path) -> bool:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    try:
        checked = load_recipe(path)
        for machine in MACHINES:
            resolved(checked, machine)
    except RecipeError:
        return False
    return True


def block_text(values: dict[str, Any], rng: random.Random) -> str:
    lines = [rng.choice(HEADERS)]
    for key, value in values.items():
        deep = isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict))
        if deep or rng.random() < 0.5:
            text = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=False, width=10**6)
        else:
            text = f"{key}: {_flow(value)}\n"
        first, _, rest = text.partition("\n")
        remark = rng.choice(("", "", f"   # {key} as it was", "  # why? ask"))
        lines += [rng.choice(("", "", "", "\n", "# the next: one\n")), first + remark + "\n", rest]
    return "".join(lines)


def flow_text(values: dict[str, Any], rng: random.Random) -> str:
    """Mappings and lists inside in braces and brackets, a line a key."""
    lines = [f"{key}: {_flow(value)}{rng.choice(('', '', '  # so'))}\n" for key, value in values.items()]
    return "".join([rng.choice(HEADERS), *lines])


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, sort_keys=False, default_flow_style=True, width=10**6)
    return str(text).removesuffix("...\n").strip()
