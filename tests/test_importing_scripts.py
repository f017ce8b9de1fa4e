"""Scripts of other people: what is read of them, and that nothing is guessed where only running would tell."""

from pathlib import Path
from typing import Any

import pytest

from finetune.errors import RecipeError, UsageError
from finetune.importing.draft import CHANGED, LOST, TO_DO, UNREAD, Draft
from finetune.importing.reading import read_foreign

HEAD = (
    "import torch\nfrom trl import SFTConfig, SFTTrainer\nfrom datasets import load_dataset, concatenate_datasets\n"
    "from datasets import Dataset\n"
)


def drafted(folder: Path, text: str, name: str = "train.py") -> Draft:
    path = folder / name
    path.write_text(text)
    return read_foreign(path)


def trained(folder: Path, rows: str, after: str = "", config: str = "max_length=512") -> Draft:
    """A script whose rows are `ds`."""
    run = f"SFTTrainer('org/base', args=SFTConfig({config}), train_dataset=ds{after}).train()\n"
    return drafted(folder, HEAD + rows + run)


def told(draft: Draft, kind: str) -> str:
    return "\n".join(f"{one.shown}: {one.message}" for one in draft.told if one.kind == kind)


def entries(draft: Draft) -> list[dict[str, Any]]:
    return [{key: line.value for key, line in entry.items()} for entry in draft.datasets]


def test_training_inside_a_class_or_an_inner_function_is_found(tmp_path: Path) -> None:
    inside = (
        "class Tuner:\n    def __init__(self, name='org/base'):\n        self.name = name\n        self.steps = 7\n"
        "    def rows(self):\n        return load_dataset('org/rows', split='train')\n"
        "    def run(self):\n        ds = self.rows()\n"
        "        SFTTrainer(self.name, args=SFTConfig(max_steps=self.steps), train_dataset=ds).train()\n"
    )
    for start in ("", "Tuner('org/other').run()\n"):
        draft = drafted(tmp_path, HEAD + inside + start)
        assert draft.value("base_model") == ("org/other" if start else "org/base")
        assert draft.value("max_steps") == 7 and entries(draft)[0]["path"] == "org/rows"
    inner = (
        "def main():\n    def objective(trial):\n        SFTTrainer('org/base', args=SFTConfig(max_steps=3))\n"
        "    study(objective)\n"
    )
    assert drafted(tmp_path, HEAD + inner + "main()\n").value("max_steps") == 3


def test_the_defaults_of_a_dataclass_are_its_values(tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass, field\nfrom transformers import HfArgumentParser\n"
        "@dataclass\nclass Asked:\n"
        "    model: str = field(default='org/base')\n    lr: float = 3e-5\n"
        "    rows: list = field(default_factory=lambda: ['a'])\n"
        "    steps: int = field(metadata={})\n"
        "asked = HfArgumentParser(Asked).parse_args_into_dataclasses()[0]\n"
        "SFTTrainer(asked.model, args=SFTConfig(learning_rate=asked.lr, max_steps=asked.steps))\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert (draft.value("base_model"), draft.value("learning_rate")) == ("org/base", 3e-5)
    assert "max_steps=" in told(draft, UNREAD)


def test_what_a_function_returns_is_not_guessed_from_its_first_way(tmp_path: Path) -> None:
    pick = (
        "def kind():\n    if not torch.cuda.is_available():\n        return torch.float32\n    return torch.bfloat16\n"
        "kind = kind()\n"
    )
    draft = trained(tmp_path, pick, config="bf16=(kind == torch.bfloat16), learning_rate=1e-4")
    assert draft.value("bf16") == "auto" and "bf16=" in told(draft, UNREAD)
    asked = pick.replace("not torch.cuda.is_available()", "torch.cuda.is_bf16_supported()")
    draft = trained(tmp_path, asked, config="bf16=(kind == torch.bfloat16)")
    assert draft.value("bf16") == "auto" and "bf16=" not in told(draft, UNREAD)


def test_a_setting_that_could_not_be_read_is_never_called_unwritten(tmp_path: Path) -> None:
    draft = trained(tmp_path, "", config="per_device_train_batch_size=input(), num_train_epochs=input()")
    for key in ("micro_batch_size", "num_epochs"):
        assert draft.lines[key].why.startswith("TO DO: line 5 says it"), draft.lines[key].why
    assert draft.lines["seed"].why == "not written; TRL's default"


def test_joined_sources_are_entries_of_their_own(tmp_path: Path) -> None:
    rows = (
        "a = load_dataset('org/a', 'main', split='train[:750]')\n"
        "b = load_dataset('json', data_files='b.jsonl')['train']\n"
        "ds = concatenate_datasets([a, b.select(range(50))]).shuffle(seed=0)\n"
    )
    assert entries(trained(tmp_path, rows)) == [
        {"path": "org/a", "split": "train[:750]", "name": "main"},
        {"path": "b.jsonl", "split": "train[:50]"},
    ]


@pytest.mark.parametrize(
    ("steps", "split", "more", "held"),
    [
        (".select(range(100))", "train[:100]", None, None),
        (".select(range(10, 30)).select(range(5))", "train[10:15]", None, None),
        (".skip(10).take(5)", "train[10:15]", None, None),
        (".shuffle(seed=1).select(range(min(100, len(ds))))", "train", 100, None),
        (".train_test_split(test_size=0.2)['train'].select(range(80))", "train", 100, 0.2),
        (".train_test_split(test_size=50)['train'].select(range(80))", "train", 130, 50),
    ],
)
def test_which_rows_are_taken_is_said_or_told(tmp_path: Path, steps: str, split: str, more: Any, held: Any) -> None:
    draft = trained(tmp_path, f"ds = load_dataset('org/rows', split='train')\nds = ds{steps}\n")
    entry = entries(draft)[0]
    assert (entry["split"], entry.get("max_rows"), draft.value("val_set_size")) == (split, more, held)
    assert ("select" in told(draft, CHANGED)) is (held is not None)


def test_rows_of_both_sides_of_a_split_are_counted_together(tmp_path: Path) -> None:
    rows = (
        "both = load_dataset('org/rows', split='train').train_test_split(test_size=0.2)\n"
        "ds = both['train'].select(range(80))\n"
    )
    draft = trained(tmp_path, rows, ", eval_dataset=both['test'].select(range(10))")
    assert draft.value("val_set_size") == 10 and entries(draft)[0]["max_rows"] == 90


@pytest.mark.parametrize(
    ("function", "expression"),
    [
        ("lambda x: len(x['text']) > 10", 'row["text"]|length > 10'),
        (
            "lambda x: x['lang'] == 'en' and x['score'] is not None",
            '(row["lang"] == \'en\' and row["score"] is not none)',
        ),
        ("lambda x: x['kind'] in KINDS", "row[\"kind\"] in ['a', 'b']"),
    ],
)
def test_a_filter_of_comparisons_is_an_expression(tmp_path: Path, function: str, expression: str) -> None:
    from finetune.recipe.expression import compiled

    rows = f"KINDS = ['a', 'b']\nds = load_dataset('org/rows').filter({function})\n"
    assert entries(trained(tmp_path, rows))[0]["filter"] == f"{{{{ {expression} }}}}"
    assert compiled(f"{{{{ {expression} }}}}")({"text": "x" * 11, "lang": "en", "score": 1, "kind": "a"})
    draft = trained(tmp_path, "ds = load_dataset('org/rows').filter(lambda x: good(x))\n")
    assert "filter" not in entries(draft)[0] and "filter(…)" in told(draft, LOST)


def test_no_step_of_rows_is_passed_over(tmp_path: Path) -> None:
    rows = (
        "ds = load_dataset('org/rows', split='train')\nother = load_dataset('org/other').filter(keep)\n"
        "ds = thinned(ds, share=0.3)\n"
    )
    said = told(trained(tmp_path, rows), UNREAD)
    assert "thinned(…): what this does to the rows is not read" in said
    assert "load_dataset('org/other'): it was not seen to lead" in said and "filter(keep): it was not seen" in said


def test_rows_that_the_script_makes_keep_their_form_and_files_their_names(tmp_path: Path) -> None:
    shape = (
        "def chat(row):\n    return {'text': tok.apply_chat_template(row['talk'], tokenize=False)}\n"
        "ds = Dataset.from_list([{'talk': []}]).map(chat)\n"
    )
    draft = trained(tmp_path, shape)
    assert entries(draft)[0]["field_messages"] == "talk" and "from_list(…)" in told(draft, TO_DO)
    table = "import pandas as pd\nds = Dataset.from_pandas(pd.read_csv('rows.csv'))\n"
    assert entries(trained(tmp_path, table)) == [{"path": "rows.csv"}]
    lines = "import json\nwith open('rows.jsonl') as f:\n    ds = Dataset.from_list([json.loads(line) for line in f])\n"
    assert entries(trained(tmp_path, lines)) == [{"path": "rows.jsonl"}]


def test_a_name_with_two_meanings_in_a_wording_is_a_task(tmp_path: Path) -> None:
    twice = (
        "def wording(row):\n    if row['input']:\n        asked = row['input']\n    else:\n"
        "        asked = row['instruction']\n"
        "    return {'text': f'Q: {asked} A: ' + row['output']}\n"
        "ds = load_dataset('org/rows', split='train').map(wording)\n"
    )
    draft = trained(tmp_path, twice)
    assert "type" not in entries(draft)[0] and "map(wording)" in told(draft, TO_DO)


def test_settings_in_a_file_beside_the_script_are_read_and_a_missing_one_is_named(tmp_path: Path) -> None:
    text = (
        "import yaml\ndef load(path):\n    with open(path) as f:\n        return yaml.safe_load(f)\n"
        "cfg = load('configs/sft.yaml')\n"
        "more = cfg['train']['more']\n"
        "SFTTrainer(cfg['model']['name'], args=SFTConfig(learning_rate=float(cfg['train']['lr']), **more))\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert "it is in configs/sft.yaml, which is not beside this file" in told(draft, UNREAD)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/sft.yaml").write_text("model: {name: org/base}\ntrain: {lr: 2e-5, more: {max_steps: 9}}\n")
    draft = drafted(tmp_path, HEAD + text)
    found = [draft.value(key) for key in ("base_model", "learning_rate", "max_steps")]
    assert found == ["org/base", 2e-5, 9]
    for name in ("configs/../configs/sft.yaml", "configs/.hidden/sft.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("model: {name: org/base}\n")
        draft = drafted(tmp_path, HEAD + text.replace("configs/sft.yaml", name))
        assert draft.value("base_model") != "org/base" and f"it is in {name}, which" in told(draft, UNREAD)


def test_tokens_that_a_script_makes_itself_say_where_rows_are_cut(tmp_path: Path) -> None:
    text = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments\n"
        "from datasets import load_dataset\nmodel = AutoModelForCausalLM.from_pretrained('org/base')\n"
        "tok = AutoTokenizer.from_pretrained('org/base')\nLENGTH = 384\ndef tokens(row):\n"
        "    made = tok(row['text'], truncation=True, max_length=LENGTH)\n"
        "    made['labels'] = LABELS\n    return made\n"
        "ds = load_dataset('org/rows', split='train').map(tokens)\n"
        "Trainer(model, TrainingArguments(max_steps=3), train_dataset=ds).train()\n"
    )
    draft = drafted(tmp_path, text.replace("LABELS", "made['input_ids'].copy()"))
    assert (draft.value("sequence_len"), draft.value("train_on_inputs")) == (384, True)
    draft = drafted(tmp_path, text.replace("LABELS", "[-100] * n + made['input_ids'][n:]"))
    assert draft.value("train_on_inputs") is False and "labels of -100" in told(draft, CHANGED)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("from transformers import Qwen2VLForConditionalGeneration as M\nM.from_pretrained('org/x')\n", "reads images"),
        ("from transformers import T5ForConditionalGeneration as M\nM.from_pretrained('org/x')\n", "has an encoder"),
        ("from snac import SNAC\nSNAC.from_pretrained('org/x')\n", "sound"),
        ("from datasets import Audio\nx.cast_column('audio', Audio(sampling_rate=24000))\n", "sound"),
        ("def pad(rows):\n    return {'pixel_values': rows}\nSFTTrainer('a/b', data_collator=pad)\n", "images"),
        ("from unsloth import FastModel\nm, t = FastModel.from_pretrained('a/b')\n"
         "m = FastModel.get_peft_model(m, qat_scheme='int4')\n", "QAT"),
    ],
)  # fmt: skip
def test_a_script_of_images_sound_or_another_kind_of_training_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        drafted(tmp_path, HEAD + text + "SFTTrainer('org/base', args=SFTConfig(max_steps=1))\n")


def test_yaml_of_other_tools_may_have_tags_and_a_template_is_named(tmp_path: Path) -> None:
    text = "model_name_or_path: org/base\nstage: sft\nlearning_rate: !!float 5e-7\ntemplate: llama3\n"
    assert drafted(tmp_path, text, "f.yaml").value("learning_rate") == 5e-7
    with pytest.raises(UsageError, match=r"places in \{\{ \}\}"):
        drafted(tmp_path, text.replace("!!float 5e-7", "{{ lr }}"), "f.yaml")


def test_a_handbooks_test_splits_are_measured_and_an_adapter_of_4_bit_weights_is_kept(tmp_path: Path) -> None:
    text = (
        "model_name_or_path: org/base\ndataset_mixer: {org/a: 1.0}\ndataset_splits: [train_prefs, test_prefs]\n"
        "beta: 0.1\neval_strategy: steps\neval_steps: 10\nload_in_4bit: true\nlora_r: 7\n"
    )
    draft = drafted(tmp_path, text, "dpo.yaml")
    assert [entry["split"].value for entry in draft.test_datasets] == ["test_prefs"]
    assert (draft.value("adapter"), draft.value("lora_r")) == ("qlora", 7)


def test_code_behind_an_exit_or_an_import_that_fails_is_still_read(tmp_path: Path) -> None:
    text = (
        "try:\n    import peft\n    HAS = True\nexcept ImportError:\n    HAS = False\n"
        "def main(path=None):\n    if not HAS:\n        return 2\n    if path is None:\n"
        "        raise SystemExit('no path')\n"
        "    SFTTrainer('org/base', args=SFTConfig(max_steps=4)).train()\nmain()\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert draft.value("max_steps") == 4


def test_a_projects_own_modules_are_read_and_their_lines_named(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("MODEL = 'org/base'\nclass Run:\n    steps = 6\n")
    (tmp_path / "rows.py").write_text(
        "from datasets import load_dataset\nNAME = 'org/rows'\n\n\ndef made(count):\n"
        "    return load_dataset(NAME, split='train').select(range(count))\n"
    )
    text = (
        "import settings\nfrom settings import Run\nfrom rows import made\n"
        "SFTTrainer(settings.MODEL, args=SFTConfig(max_steps=Run.steps), train_dataset=made(5)).train()\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert (draft.value("base_model"), draft.value("max_steps")) == ("org/base", 6)
    assert entries(draft)[0] == {"path": "org/rows", "split": "train[:5]"}
    assert draft.datasets[0]["split"].why == "line 6 of rows.py: select"


def test_of_two_branches_that_only_running_would_tell_apart_the_one_that_is_read_is_named(tmp_path: Path) -> None:
    rows = "ds = load_dataset('org/a') if local() else load_dataset('org/b')\n"
    branch = "if local():\n    ds = load_dataset('org/a')\nelse:\n    ds = load_dataset('org/b')\n"
    assert "which rows these are is not read" in told(trained(tmp_path, rows), UNREAD)
    assert "it is another one (line 8) unless `local()`; this one is read" in told(trained(tmp_path, branch), UNREAD)


def test_the_model_and_the_adapter_are_those_that_the_trainer_gets(tmp_path: Path) -> None:
    text = (
        "from transformers import AutoModelForCausalLM, BitsAndBytesConfig\nfrom peft import LoraConfig\n"
        "from peft import get_peft_model\n"
        "judge = AutoModelForCausalLM.from_pretrained('org/judge')\nother = LoraConfig(r=2)\n"
        "bits = BitsAndBytesConfig(load_in_4bit=True)\n"
        "model = AutoModelForCausalLM.from_pretrained('org/base', quantization_config=bits)\n"
        "model = get_peft_model(model, LoraConfig(r=9))\nSFTTrainer(model, args=SFTConfig(max_steps=1)).train()\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert [draft.value(key) for key in ("base_model", "load_in_4bit", "lora_r")] == ["org/base", True, 9]
    assert "LoraConfig(r=2): it was not seen to belong to this training" in told(draft, UNREAD)


def test_local_rows_tell_whether_prompts_are_learned(tmp_path: Path) -> None:
    rows = "ds = load_dataset('json', data_files='rows.jsonl', split='train')\n"
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert trained(tmp_path, rows).value("train_on_inputs") is False
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\n')
    draft = trained(tmp_path, rows)
    assert draft.value("train_on_inputs") is True and "train_on_inputs" not in told(draft, TO_DO)
    (tmp_path / "rows.jsonl").unlink()
    assert "train_on_inputs" in told(trained(tmp_path, rows), TO_DO)


def test_a_trainer_with_a_loss_of_its_own_is_told(tmp_path: Path) -> None:
    text = (
        "class Mine(SFTTrainer):\n    def compute_loss(self, model, inputs):\n        return 0\n"
        "Mine('org/base', args=SFTConfig(max_steps=1))\n"
    )
    assert "class Mine: its own compute_loss has no counterpart" in told(drafted(tmp_path, HEAD + text), LOST)


def test_names_that_are_left_empty_are_a_task_and_a_switch_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    rows = "ds = load_dataset('json', data_files='')\n"
    draft = trained(tmp_path, rows, config="output_dir='', assistant_only_loss=asked()")
    assert draft.value("output_dir") == "outputs/train" and "your_data" in entries(draft)[0]["path"]
    assert "assistant_only_loss=" in told(draft, UNREAD)
    assert draft.lines["train_on_inputs"].why.startswith("TO DO")


def test_compared_answers_are_read_as_such(tmp_path: Path) -> None:
    text = (
        "from trl import ORPOConfig, ORPOTrainer\ndef put(row):\n"
        "    row['chosen'] = tok.apply_chat_template(row['chosen'], tokenize=False)\n    return row\n"
        "ds = load_dataset('org/pairs', split='train').map(put)\n"
        "ORPOTrainer('org/base', args=ORPOConfig(max_steps=1), train_dataset=ds)\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert entries(draft) == [{"path": "org/pairs", "split": "train"}]


def test_a_scripts_own_default_stands_in_for_a_setting_that_only_its_file_has(tmp_path: Path) -> None:
    text = (
        "import yaml, sys\ncfg = yaml.safe_load(open(sys.argv[1]))\n"
        "seed = cfg['train'].get('seed', 7)\n"
        "SFTTrainer('org/base', args=SFTConfig(learning_rate=float(cfg.get('lr', 3e-5)), seed=seed))\n"
    )
    draft = drafted(tmp_path, HEAD + text)
    assert (draft.value("learning_rate"), draft.value("seed")) == (3e-5, 7)
    assert draft.lines["seed"].why.endswith("could not be read; this is the script's own default")
