"""Other tools' configurations, scripts and notebooks become recipes; nothing that is read is passed over."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import main
from finetune.errors import UsageError
from finetune.importing.draft import CHANGED, CONFLICT, LOST, OUTDATED, TO_DO, UNREAD, Draft
from finetune.importing.reading import read_foreign
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe

NEAR = [up / "shared" / "seeds" for up in Path(__file__).resolve().parents]
SEEDS = next((folder for folder in NEAR if folder.is_dir()), Path("none"))


def imported(tmp_path: Path, name: str, text: str, *more: str) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a file, checked as `validate` does, and the report."""
    file, output = tmp_path / name, tmp_path / "recipe.yaml"
    file.write_text(text)
    code = main(["import", str(file), "--output", str(output), "--force", *more])
    assert code == 0
    return load_recipe(output).recipe, {}


def drafted(tmp_path: Path, name: str, text: str) -> Draft:
    file = tmp_path / name
    file.write_text(text)
    return read_foreign(file)


def told(draft: Draft, kind: str) -> str:
    return "\n".join(f"{one.shown}: {one.message} {one.advice}" for one in draft.told if one.kind == kind)


FACTORY = """model_name_or_path: Qwen/Qwen2.5-1.5B-Instruct
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
lora_target: all
dataset: mine
template: qwen
cutoff_len: 1024
max_samples: 500
output_dir: saves/mine
per_device_train_batch_size: 2
learning_rate: "2e-4"
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
val_size: 0.1
eval_strategy: steps
eval_steps: 50
shift_attn: true
plot_loss: true
report_to: none
"""
INFO = {
    "mine": {"file_name": "mine.json", "columns": {"prompt": "question", "response": "answer"}},
    "talk": {"hf_hub_url": "org/talk", "formatting": "sharegpt", "columns": {"messages": "conversations"}},
}
TRL = """# trl sft --config this.yaml
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: trl-lib/Capybara
learning_rate: 2.0e-4
packing: true
max_length: 2048
eos_token: <|im_end|>
use_peft: true
lora_r: 32
assistant_only_loss: true
push_to_hub: true
learning_rat: 1.0e-3
"""
TORCHTUNE = """# tune download meta-llama/Llama-3.2-1B-Instruct --output-dir /tmp/Llama-3.2-1B-Instruct
output_dir: /tmp/out
model:
  _component_: torchtune.models.llama3_2.lora_llama3_2_1b
  lora_attn_modules: [q_proj, v_proj, output_proj]
  apply_lora_to_mlp: true
  lora_rank: 64
  lora_alpha: 128
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /tmp/Llama-3.2-1B-Instruct/original/tokenizer.model
  max_seq_len: null
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: /tmp/Llama-3.2-1B-Instruct/
  output_dir: ${output_dir}
dataset:
  _component_: torchtune.datasets.alpaca_cleaned_dataset
  packed: false
seed: null
shuffle: true
batch_size: 4
optimizer:
  _component_: torch.optim.AdamW
  fused: true
  lr: 3e-4
loss:
  _component_: torchtune.modules.loss.LinearCrossEntropyLoss
epochs: 2
max_steps_per_epoch: 10
gradient_accumulation_steps: 8
clip_grad_norm: null
compile: false
dtype: bf16
device: cuda
"""
NOTEBOOK = [
    "%%capture\n!pip install unsloth\n",
    "from unsloth import FastLanguageModel\nimport torch\nmax_seq_length = 4096\nfourbit = [\n    'unsloth/x',\n]\n"
    "model, tokenizer = FastLanguageModel.from_pretrained(\n    model_name = 'unsloth/Llama-3.2-1B-Instruct',\n"
    "    max_seq_length = max_seq_length,\n    load_in_4bit = not False,\n)\n"
    "model = FastLanguageModel.get_peft_model(model, r = 8 * 2, lora_alpha = 16, use_rslora = False,\n"
    "    target_modules = ['q_proj', 'v_proj'], random_state = 3407)\n",
    "from datasets import load_dataset\n"
    'prompt = """Instruction: {}\nInput: {}\nResponse: {}"""\nEOS_TOKEN = tokenizer.eos_token\n'
    "def formatting_prompts_func(examples):\n    instructions = examples['instruction']\n"
    "    inputs = examples['input']\n    outputs = examples['output']\n    texts = []\n"
    "    for instruction, input, output in zip(instructions, inputs, outputs):\n"
    "        texts.append(prompt.format(instruction, input, output) + EOS_TOKEN)\n    return {'text': texts}\n"
    "dataset = load_dataset('yahma/alpaca-cleaned', split = 'train')\n"
    "dataset = dataset.map(formatting_prompts_func, batched = True)\n",
    "from trl import SFTTrainer, SFTConfig\ntrainer = SFTTrainer(model = model, tokenizer = tokenizer,\n"
    "    train_dataset = dataset, dataset_text_field = 'text', max_seq_length = 2048,\n"
    "    args = SFTConfig(max_steps = 60, learning_rate = float('2e-4'), warmup_steps = 5, foo = 1,\n"
    "        run_name = input('name'), report_to = 'none'))\ntrainer.train()\n",
]


def test_llama_factory_says_the_same_in_our_keys_and_its_defaults_are_written_out(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(INFO))
    recipe, _ = imported(tmp_path, "sft.yaml", FACTORY)
    assert (recipe.lora_r, recipe.lora_alpha, recipe.lora_target_linear) == (16, 32, True)
    assert (recipe.learning_rate, recipe.num_epochs, recipe.warmup_ratio) == (2e-4, 3.0, 0.1)
    # Their defaults, where ours are other ones.
    assert (recipe.gradient_accumulation_steps, recipe.optimizer, recipe.save_steps) == (1, "adamw_torch_fused", 500)
    assert recipe.gradient_checkpointing is True and recipe.excess_length_strategy == "truncate"
    assert (recipe.chat_template, recipe.train_on_inputs, recipe.val_set_size) == ("qwen_25", False, 0.1)
    (entry,) = recipe.datasets
    assert entry.path.endswith("data/mine.json") and entry.split == "train[:500]"
    form = entry.type
    assert not isinstance(form, str) and form is not None
    assert (form.field_instruction, form.field_output, form.as_turns) == ("question", "answer", True)
    assert "shift_attn" in told(read_foreign(tmp_path / "sft.yaml"), LOST)


def test_what_no_recipe_can_be_is_refused_with_its_line_and_writes_nothing(tmp_path: Path, capsys: Any) -> None:
    for text, why in (
        (FACTORY.replace("stage: sft", "stage: ppo"), ":2:1: error: `stage: ppo` has no counterpart"),
        (FACTORY.replace("finetuning_type: lora", "finetuning_type: oft"), ":4:1: error"),
        ("base_model: a\ndatasets: []\nsequence_len: 4\nmicro_batch_size: 1\n", "finetune upgrade"),
        ("a: [1\n", "not YAML"),
        ("hello: world\n", "its keys (hello)"),
    ):
        file = tmp_path / "x.yaml"
        file.write_text(text)
        assert main(["import", str(file), "--output", str(tmp_path / "out.yaml")]) in (2, 3)
        assert why in capsys.readouterr().err
        assert not (tmp_path / "out.yaml").exists()


def test_a_trl_configuration_keeps_trls_defaults_and_names_what_it_does_not_know(tmp_path: Path) -> None:
    recipe, _ = imported(tmp_path, "sft.yaml", TRL)
    assert (recipe.lora_r, recipe.lora_alpha, recipe.lora_dropout) == (32, 32, 0.05)
    assert (recipe.micro_batch_size, recipe.num_epochs, recipe.logging_steps) == (8, 3, 10)
    assert (recipe.sample_packing, recipe.sequence_len, recipe.train_on_inputs) == (True, 2048, False)
    assert recipe.special_tokens is not None and recipe.special_tokens.eos_token == "<|im_end|>"
    lost = told(drafted(tmp_path, "again.yaml", TRL), LOST)
    assert "`learning_rat`; is `learning_rate` meant?" in lost and "finetune push" in lost


def test_the_method_of_a_trl_configuration_is_told_by_its_keys_or_asked_for(tmp_path: Path) -> None:
    text = "model_name_or_path: m/m\ndataset_name: d/d\nbeta: 0.3\nlearning_rate: 1e-6\n"
    recipe, _ = imported(tmp_path, "run.yaml", text)
    assert (recipe.rl, recipe.rl_beta) == ("dpo", 0.3)
    recipe, _ = imported(tmp_path, "run.yaml", text, "--method", "orpo")
    assert (recipe.rl, recipe.orpo_alpha) == ("orpo", 0.3)


def test_torchtunes_components_and_their_defaults_are_read(tmp_path: Path) -> None:
    recipe, _ = imported(tmp_path, "tune.yaml", TORCHTUNE)
    assert recipe.base_model == "meta-llama/Llama-3.2-1B-Instruct"
    assert recipe.lora_target_modules == ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert (recipe.lr_scheduler, recipe.weight_decay, recipe.max_grad_norm) == ("constant", 0.01, 0)
    assert (recipe.max_steps, recipe.train_on_inputs, recipe.lora_dropout) == (20, True, 0)
    assert "rows of any length" in told(drafted(tmp_path, "again.yaml", TORCHTUNE), CHANGED)


def notebook(tmp_path: Path) -> Path:
    cells = [{"cell_type": "code", "source": text.splitlines(keepends=True)} for text in NOTEBOOK]
    file = tmp_path / "book.ipynb"
    file.write_text(json.dumps({"cells": cells, "nbformat": 4}, indent=1))
    return file


def test_a_notebook_is_read_without_running_it(tmp_path: Path) -> None:
    draft = read_foreign(notebook(tmp_path))
    values = {key: line.value for key, line in draft.lines.items()}
    assert (values["base_model"], values["lora_r"], values["load_in_4bit"]) == (
        "unsloth/Llama-3.2-1B-Instruct",
        16,
        True,
    )
    assert (values["learning_rate"], values["max_steps"], values["sequence_len"]) == (2e-4, 60, 2048)
    # Unsloth's own defaults, not TRL's.
    assert (values["micro_batch_size"], values["seed"], values["optimizer"]) == (4, 3407, "adamw_8bit")
    form = draft.datasets[0]["type"].value
    assert form["format"] == "Instruction: {instruction}\nInput: {input}\nResponse: "
    assert form["no_input_format"] == "Instruction: {instruction}\nInput: \nResponse: "
    assert "`foo`" in told(draft, LOST) and "run_name" in told(draft, UNREAD)
    assert "sequence_len` is 2048 already" in told(draft, CONFLICT)
    assert "max_seq_length=2048" in told(draft, OUTDATED)
    lines = notebook(tmp_path).read_text().splitlines()
    place = next(one.where.line for one in draft.told if one.shown.startswith("lora_alpha"))
    assert "lora_alpha" in lines[place - 1]


def test_every_argument_of_the_calls_is_accounted_for(tmp_path: Path) -> None:
    draft = read_foreign(notebook(tmp_path))
    shown = " ".join(one.shown for one in draft.told)
    for name in (
        "random_state",
        "use_rslora",
        "tokenizer",
        "dataset_text_field",
        "warmup_steps",
        "report_to",
        "batched",
    ):
        assert f"{name}=" in shown


def test_a_script_with_a_command_line_takes_its_defaults_and_what_has_none_is_told(tmp_path: Path) -> None:
    text = (
        "import argparse\nfrom trl import SFTConfig, SFTTrainer\nfrom peft import LoraConfig\n"
        "from datasets import load_dataset\n"
        "def main(args):\n    ds = load_dataset('json', data_files=f'{args.folder}/train.jsonl')['train']\n"
        "    ds = ds.shuffle(seed=1).select(range(100))\n"
        "    config = SFTConfig(output_dir=args.out, learning_rate=args.lr, **extra)\n"
        "    SFTTrainer('org/base', args=config, train_dataset=ds,\n        peft_config=LoraConfig(r=4)).train()\n"
        "extra = dict(num_train_epochs=2, bf16=True)\n"
        "p = argparse.ArgumentParser()\np.add_argument('--lr', type=float, default=1e-5)\n"
        "p.add_argument('--folder', default='data')\np.add_argument('--out', required=True)\n"
        "if __name__ == '__main__':\n    main(p.parse_args())\n"
    )
    draft = drafted(tmp_path, "train.py", text)
    values = {key: line.value for key, line in draft.lines.items()}
    assert (values["learning_rate"], values["num_epochs"], values["base_model"]) == (1e-5, 2, "org/base")
    assert (values["lora_r"], values["lora_alpha"], values["bf16"]) == (4, 8, True)
    assert draft.datasets[0]["path"].value == "data/train.jsonl" and draft.datasets[0]["max_rows"].value == 100
    assert "the command line gives it: --out" in told(draft, UNREAD)


def test_a_line_that_would_not_stand_is_left_out_and_told(tmp_path: Path, capsys: Any) -> None:
    text = TRL.replace("lora_r: 32", "lora_r: 32\nlora_alpha: 16.5\nweight_decay: -1")
    imported(tmp_path, "sft.yaml", text)
    printed = capsys.readouterr().err
    assert "lora_alpha=16.5" in printed and "weight_decay" in printed and "would not stand" in printed


def test_secrets_are_never_repeated(tmp_path: Path, capsys: Any) -> None:
    secret = "hf_" + "a" * 30
    text = f"hub_token: {secret}\n{TRL}"
    imported(tmp_path, "sft.yaml", text)
    printed = capsys.readouterr()
    assert secret not in printed.out + printed.err + (tmp_path / "recipe.yaml").read_text()


def test_the_report_is_json_too_and_the_file_is_not_replaced_unasked(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "sft.yaml").write_text(TRL)
    output = tmp_path / "r.yaml"
    assert main(["import", str(tmp_path / "sft.yaml"), "--output", str(output), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"]["carried"] > 5 and all(one["line"] >= 0 for one in report["settings"])
    assert main(["import", str(tmp_path / "sft.yaml"), "--output", str(output)]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.py", "a.ipynb", "a.yaml", "a.md", "a.sh", "a.txt"])
@pytest.mark.parametrize("text", ["", "{", "def f(:\n", "\x00", "import x; x.y(**z)\n", "[" * 300, "x = " + "(" * 400])
def test_no_file_makes_a_traceback(tmp_path: Path, capsys: Any, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert main(["import", str(tmp_path / name), "--output", str(tmp_path / "o.yaml")]) in (2, 3)
    assert "Traceback" not in capsys.readouterr().err


SCRIPT = """from trl import SFTTrainer, SFTConfig
SFTTrainer(model="a/b", train_dataset=load_dataset("x/y"), peft_config=LoraConfig({lora}), args=SFTConfig({config}))
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", FACTORY.replace("report_to: none", "report_to: {a: 1}") + "flash_attn: []\n"),
        ("b.yaml", FACTORY + "use_galore: true\ngalore_target: 5\nmax_steps: 1e400\n"),
        ("c.yaml", TRL + "lora_target_modules: {a: 1}\n"),
        ("d.yaml", TORCHTUNE.replace("[q_proj, v_proj, output_proj]", "[1, 2]") + "batch_size_val: abc\n"
         "dataset_val: {_component_: torchtune.datasets.alpaca_dataset}\n"),
        ("e.yaml", TORCHTUNE.replace("[q_proj, v_proj, output_proj]", "null")),
        ("f.py", SCRIPT.format(lora="target_modules=5, loftq_config='abc'", config="logging_steps=float('nan')")),
        ("g.py", "import unsloth\nunsloth.FastLanguageModel.get_peft_model(1, target_modules={'a': 1})\n"),
    ],
)  # fmt: skip
def test_a_value_that_no_key_can_hold_is_told_and_makes_no_traceback(tmp_path: Path, name: str, text: str) -> None:
    assert told(drafted(tmp_path, name, text), LOST)


@pytest.mark.skipif(not SEEDS.is_dir(), reason="the guides are not beside this checkout")
@pytest.mark.parametrize("number", range(5))
def test_the_guides_become_recipes_that_stand(tmp_path: Path, number: int) -> None:
    (guide,) = SEEDS.glob(f"{number:03}_*")
    recipe, _ = imported(tmp_path, "guide.txt", guide.read_text())
    assert recipe.output_dir
    assert main(["plan", str(tmp_path / "recipe.yaml"), "--gpu", "24"]) == 0


def test_a_reward_of_a_script_stays_a_task_and_the_method_stays(tmp_path: Path) -> None:
    text = (
        "from trl import GRPOConfig, GRPOTrainer\ndef short(completions, **kwargs):\n    return [1.0]\n"
        "GRPOTrainer('org/base', reward_funcs=[short], args=GRPOConfig(num_generations=4, "
        "per_device_train_batch_size=1, max_prompt_length=256, max_completion_length=256)).train()\n"
    )
    draft = drafted(tmp_path, "grpo.py", text)
    values = {key: line.value for key, line in draft.lines.items()}
    assert (values["rl"], values["sequence_len"], values["micro_batch_size"]) == ("grpo", 512, 4)
    assert values["trl.reward_funcs"] == ["rewards.py:short"] and "short" in told(draft, TO_DO)


@pytest.mark.parametrize(
    ("name", "key", "method"),
    [
        ("rloo.yaml", "num_generations: 4", "rloo"),
        ("orpo.yaml", "max_completion_length: 512", "orpo"),
        ("train.yaml", "scale_rewards: false", "grpo"),
    ],
)
def test_a_key_that_several_methods_have_had_does_not_choose_another_than_the_name_says(
    tmp_path: Path, name: str, key: str, method: str
) -> None:
    draft = drafted(tmp_path, name, f"model_name_or_path: a/b\noutput_dir: o\n{key}\nlearning_rate: 1e-6\n")
    assert draft.value("rl") == method


def test_yes_and_on_are_true_as_in_the_tools_that_write_them(tmp_path: Path) -> None:
    text = "model_name_or_path: a/b\ndataset_name: x/y\noutput_dir: o\nuse_peft: yes\npacking: on\nbf16: no\n"
    draft = drafted(tmp_path, "sft.yaml", text)
    assert (draft.value("adapter"), draft.value("sample_packing"), draft.value("bf16")) == ("lora", True, False)


def test_a_shells_variables_are_filled_in_or_told_and_what_follows_the_command_is_not_its(tmp_path: Path) -> None:
    lines = "MODEL=org/model\nexport LR='3e-5'\ntrl sft --model_name_or_path $MODEL --learning_rate ${LR} \\\n"
    lines += "  --dataset_name x/y --output_dir out --warmup_steps $W --bf16 True > log.txt 2>&1 &\n"
    draft = drafted(tmp_path, "run.sh", lines)
    assert (draft.value("base_model"), draft.value("learning_rate"), draft.value("bf16")) == ("org/model", 3e-5, True)
    assert "warmup_steps" in told(draft, UNREAD) and draft.value("warmup_steps") is None


def test_no_text_of_a_script_grows_without_bound(tmp_path: Path) -> None:
    text = 'a = "{:>99999999999}".format(1)\nb = "%099999999999d" % 1\nc = 10**64\n' + "c = c**64\n" * 9
    text += 'SFTConfig(output_dir=a, run_name=b, seed=c, learning_rate=1e-4)\nSFTTrainer(model="a/b")\n'
    draft = drafted(tmp_path, "evil.py", text)
    assert draft.value("learning_rate") == 1e-4
    assert {"output_dir", "run_name", "seed"} <= {one.shown.split("=")[0] for one in draft.told if one.kind == UNREAD}


@pytest.mark.parametrize(
    "lines",
    [
        "a = 'a' * 1000\n" + "a = a + a\n" * 40,
        "a = 2**64\n" + "a = a * a\n" * 40,
        "a = [1]\n" + "a = [*a, *a]\n" * 40,
        "a = [1]\n" + "a = [a, a]\n" * 40,
        "a = 'a' * 1000\n" + "a = f'{a}{a}{a}'\n" * 40,
        "a = {}\na['b'] = [a]\n",
        "a = round(1234567, -10**9)\n",
        "a = f'{1:>9999999999}'\n",
    ],
    ids=["texts", "numbers", "lists", "lists in lists", "f-strings", "in itself", "rounded", "wide"],
)
def test_a_name_that_is_joined_with_itself_stays_small(tmp_path: Path, lines: str) -> None:
    draft = drafted(tmp_path, "evil.py", lines + 'SFTConfig(output_dir=a)\nSFTTrainer(model="a/b")\n')
    assert "output_dir=" in told(draft, UNREAD)


def test_functions_that_call_each_other_end(tmp_path: Path) -> None:
    text = "def e():\n    return 1\n"
    for name, other in ("de", "cd", "bc", "ab"):
        text += f"def {name}():\n" + f"    x = {other}()\n" * 300 + "    return 1\n"
    assert drafted(tmp_path, "evil.py", text + 'SFTTrainer(model="a/b", args=SFTConfig("o", seed=a()))\n').lines


def test_keys_that_name_each_other_come_to_no_more_than_a_configuration(tmp_path: Path) -> None:
    names = "".join(f"a{number + 1}: '" + f"${{a{number}}} " * 60 + "'\n" for number in range(6))
    with pytest.raises(UsageError, match="more than any configuration"):
        drafted(tmp_path, "evil.yaml", f"{TORCHTUNE}a0: {'x' * 30}\n{names}")


def test_a_block_in_a_text_has_the_lines_of_the_text(tmp_path: Path) -> None:
    draft = drafted(tmp_path, "a.md", f"# How\n\n```yaml\n{TORCHTUNE}```\n")
    rows = (tmp_path / "a.md").read_text().splitlines()
    found = {one.shown.split("=")[0]: one.where.line for one in draft.told if one.where.line}
    assert all(f"{name}:" in rows[line - 1] for name, line in found.items()) and "lora_rank" in found


def test_the_share_that_is_kept_for_training_leaves_the_rest_for_validation(tmp_path: Path) -> None:
    text = 'd = load_dataset("x/y", split="train").train_test_split(train_size=0.9)\n'
    text += 'SFTTrainer(model="a/b", train_dataset=d["train"], eval_dataset=d["test"], args=SFTConfig("o"))\n'
    assert drafted(tmp_path, "s.py", text).value("val_set_size") == 0.1
