"""Lines that published recipes hold: each is honoured, understood with a note, warned of or refused with a reason."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from finetune.commands.checking import resolved
from finetune.errors import RecipeError
from finetune.judge import judgements
from finetune.machine import Machine, assumed
from finetune.recipe.load import load_recipe

RECIPE = "base_model: m\noutput_dir: o\n"
DATA = "datasets: [{path: org/data}]\n"


def said(tmp_path: Path, text: str) -> str:
    """Every finding of the recipe, one a line."""
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE + text)
    machines: Sequence[Machine] = (assumed(), Machine(packages=assumed().packages))
    try:
        checked = load_recipe(path)
        for machine in machines:
            resolved(checked, machine)
    except RecipeError as error:
        return "\n".join(f"{fault.code} {fault.message}" for fault in error.faults)
    return "\n".join(f"{fault.code} {fault.message}" for fault in judgements(checked, machines))


@pytest.mark.parametrize(
    "line",
    [
        "xformers_attention: ''",
        "wandb_watch: 'false'",
        "tokens: {}",
        "wandb_log_model: 'false'",
        "adapter: lora\nload_in_8bit: true\nbnb_config_kwargs: {llm_int8_has_fp16_weight: false}",
    ],
)
def test_a_line_that_asks_for_nothing_is_accepted(tmp_path: Path, line: str) -> None:
    assert not [each for each in said(tmp_path, DATA + line).splitlines() if not each.startswith(("FT010", "FT032"))]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("model_revision: main", "FT010 `model_revision: main` is written `revision_of_model: main`"),
        ("gc_steps: 10", "FT010 `gc_steps: 10` is written `torch_empty_cache_steps: 10`"),
        ("gc_steps: -1", "FT010 `gc_steps: -1`"),
        ("torch_compile: auto", "FT010 `torch_compile: auto` is written `torch_compile: true`"),
        ("optimizer: adamw_hf", "FT010 `optimizer: adamw_hf` is written `optimizer: adamw_torch`"),
        ("liger_rms_norm_gated: true", "FT023 `liger_rms_norm_gated` is accepted"),
        ("use_kernels: true", "FT023 `use_kernels` is accepted"),
        ("gc_collect_steps: 5", "FT023 `gc_collect_steps` is accepted"),
        ("pad_to_multiple_of: 64", "FT023 `pad_to_multiple_of` is accepted"),
        ("base_model_ignore_patterns: '*.pt'", "FT023 `base_model_ignore_patterns` is accepted"),
        ("max_steps: 5\nnum_epochs: 2", "FT011 `num_epochs` does not count: `max_steps: 5`"),
        ("lora_r: 16", "FT011 `lora_r` does not count: without `adapter: lora`"),
        (
            "adapter: lora\nlora_target_linear: true\nlora_target_modules: [q_proj]",
            "FT011 `lora_target_modules` does not count: `lora_target_linear: true`",
        ),
        (
            "adapter: lora\nlora_target_linear: true\nlora_target_modules: [q_proj, lm_head]",
            "with Axolotl lm_head would be adapted too",
        ),
        ("bnb_config_kwargs: {bnb_4bit_quant_type: nf4}", "FT011 `bnb_config_kwargs` counts only"),
        ("gradient_checkpointing_kwargs: {use_reentrant: true}", "FT011 `gradient_checkpointing_kwargs` counts only"),
        ("relora_steps: 150", "FT004 `relora_steps` is a key that Axolotl knows, but adapters of this kind"),
        ("context_parallel_degree: 2", "FT004 `context_parallel_degree` is a key that Axolotl knows"),
        ("log_sweep_min_lr: 1e-6", "FT004 `log_sweep_min_lr` is a key that Axolotl knows"),
        ("landmark_attention: true", "FT004 `landmark_attention` is a key that Axolotl knows"),
        ("xpos_rope: true", "FT004 `xpos_rope` is a key that Axolotl knows"),
        ("lora_out_dir: x", "FT002 unknown key `lora_out_dir`; did you mean `output_dir`?"),
        ("report_to: wandb", "FT002 unknown key `report_to`; did you mean `use_wandb`?"),
        ("pad_token: x", "FT002 unknown key `pad_token`; did you mean `special_tokens`?"),
        ("optimizer: madgrad", "FT003 `optimizer: 'madgrad'` is no optimizer kept here"),
        ("optimizer: dion", "FT003 `optimizer: 'dion'` is known, but is Axolotl's own"),
        ("optimizer: ao_adamw_8bit", "FT010 `optimizer: ao_adamw_8bit` is written `optimizer: adamw_torch_8bit`"),
        ("lr_scheduler: one_cycle", "FT003 `lr_scheduler: 'one_cycle'` is no course of the learning rate kept here"),
        ("tokenizer_type: llama", "FT003 `tokenizer_type: 'llama'` is no class of a tokenizer"),
        ("activation_offloading: disk", "FT003 `activation_offloading: 'disk'` should be true or false"),
        ("chat_template: qwen9", "tokenizer_default is the tokenizer's own"),
        ("adapter: lora\nlora_target_modules: [q_proj, '.*_proj']", "FT005 '.*_proj' is no name of a module"),
        (
            "adapter: lora\nlora_target_parameters: [mlp.experts.gate_up_proj]\nlora_dropout: 0.1",
            "FT005 `lora_dropout` cannot be applied to `lora_target_parameters`",
        ),
        ("unfrozen_parameters: ['x{99999999999999}']", "FT005 'x{99999999999999}' is not a regular expression"),
        ("adapter: lora\nlora_rank_pattern: {'(': 4}", "FT005 '(' is not a regular expression"),
        ("optimizer: lion_8bit\nadam_epsilon: 1e-6", "FT011 `adam_epsilon` does not count: `optimizer: lion_8bit`"),
        ("micro_batch_size: 1\nbatch_size: true", "FT005 `batch_size` needs a micro_batch_size that divides it"),
        ("pretrain_multipack_attn: true", "FT023 `pretrain_multipack_attn` is accepted"),
        ("bnb_config_kwargs: {llm_int8_has_fp16_weight: true}", "FT005 `llm_int8_has_fp16_weight` keeps a second copy"),
    ],
)
def test_what_is_said_about_a_line(tmp_path: Path, line: str, says: str) -> None:
    assert says in said(tmp_path, DATA + line)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ("[{path: a/b, chat_template: chatml}]", "FT010 `chat_template: chatml` of a dataset is written at the top"),
        ("[{path: a/b, chat_template: chatml}, {path: c/d}]", "FT026 several chat templates: chatml is saved"),
        ("[{path: a/b, type: alpaca, chat_template: chatml}]", "counts only with messages"),
        (
            "[{path: a/b, conversation: chatml}, {path: c/d, conversation: llama3}]",
            "FT005 `conversation` names several",
        ),
        ("[{path: json, data_files: [x.jsonl]}]", "is written `path: x.jsonl` today"),
        ("[{path: json, data_files: [x.jsonl, y.jsonl]}]", "FT022 there is no file `y.jsonl`"),
        ("[{path: x.jsonl, ds_type: jsonl}]", "`ds_type: jsonl` is written `ds_type: json`"),
        ("[{path: x.jsonl, shards_idx: 1}]", "`shards_idx` counts only with `shards`"),
        ("[{path: x.jsonl, filter: '{{ row. }}'}]", "`filter: {{ row. }}` is no expression over a row"),
        ("[{path: a/b, type: completion, field_messages: m}]", "FT005 `field_messages` counts only"),
        ("[{path: a/b, type: alpaca, field: text}]", "FT005 `field` counts only with `type: completion`"),
        ("[{path: a/b, type: {format: x}}]", "FT003 `datasets.0.type.format: 'x'` should be"),
        ("[{path: a/b, type: {format: '{instruction} {output}'}}]", "FT005 `type.format` holds {output}, which is not"),
        ("[{path: a/b, type: {field_instructions: x}}]", "FT002 unknown key `datasets.0.type.field_instructions`; did"),
        ("[{path: a/b, type: 'alpaca:foo'}]", "Write the prompt that you mean as a mapping"),
        ("[{path: a/b, type: pygmalion}]", "a chat_template of your own"),
        ("[{path: a/b, field_instruction: x}]", "FT004 `field_instruction` is a key that Axolotl knows, but it"),
        ("[{path: a/b, type: alpaca, field_tools: x}]", "FT005 `field_tools` counts only with `type: chat_template`"),
        ("[{path: a/b, type: chatml.intel}]", "pairs of a chosen and a rejected answer"),
        ("[]", "FT003 `datasets` is empty"),
    ],
)
def test_what_is_said_about_sources_of_data(tmp_path: Path, entries: str, says: str) -> None:
    assert says in said(tmp_path, f"datasets: {entries}\n")


@pytest.mark.parametrize("pattern", ["([a-z_.0-9]+)+!", "(((" * 900 + ")))" * 900, ".*" * 40 + "!"])
def test_no_pattern_makes_the_check_hang_or_fail(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    text = f"base_model: {tmp_path}\noutput_dir: o\nadapter: lora\nlora_target_modules: '{pattern}'\n{DATA}"
    (tmp_path / "r.yaml").write_text(text)
    try:
        judgements(load_recipe(tmp_path / "r.yaml"), (assumed(),))
    except RecipeError as error:
        assert "is not a regular expression" in str(error)


def test_an_old_line_of_a_source_is_refused_once_and_at_its_place(tmp_path: Path) -> None:
    text = "datasets:\n  - path: a/b\n    conversation: vicuna\n  - {path: c/d, split: x, train_on_split: y}\n"
    (tmp_path / "r.yaml").write_text(RECIPE + text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml")
    places = [str(fault.where).rsplit("/", 1)[1] for fault in caught.value.faults]
    assert places == ["r.yaml:5:5", "r.yaml:6:27"]
