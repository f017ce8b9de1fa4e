"""What a colleague would say about a legal recipe: a warning for each mistake, at its line, and silence on request."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.codes import CODES
from finetune.errors import Fault, RecipeError
from finetune.judge import judgements
from finetune.machine import Machine, assumed
from finetune.recipe.load import load_recipe

GOOD = "base_model: m\ndatasets: [{path: org/data, type: chat_template}]\noutput_dir: o\n"
MACHINES = (assumed(), Machine(packages=assumed().packages))


def judged(folder: Path, text: str) -> list[Fault]:
    path = folder / "r.yaml"
    path.write_text(text)
    return judgements(load_recipe(path), MACHINES)


def found(folder: Path, lines: str) -> list[tuple[str, int]]:
    return [(fault.code, fault.where.line if fault.where else 0) for fault in judged(folder, GOOD + lines)]


@pytest.mark.parametrize(
    ("lines", "code", "line"),
    [
        ("learning_rate: 1e-2\nadapter: lora", "FT012", 4),
        ("adapter: lora\nlearning_rate: 1e-7", "FT012", 5),
        ("learning_rate: 5e-4", "FT012", 4),
        ("max_steps: 10\nwarmup_steps: 10", "FT014", 5),
        ("max_steps: 10\nwarmup_steps: 500", "FT014", 5),
        ("max_steps: 10\nval_set_size: 0.1\neval_steps: 50", "FT015", 6),
        ("evals_per_epoch: 4", "FT015", 4),
        ("max_steps: 10\nsave_steps: 50", "FT016", 5),
        ("sample_packing: true\nattn_implementation: eager", "FT017", 5),
        ("train_on_inputs: true", "FT018", 4),
        ("trust_remote_code: true", "FT021", 4),
        ("lora_alpha: 3", "FT011", 4),
        ("flash_attention: true", "FT010", 4),
        ("dataset_keep_in_memory: true", "FT023", 4),
        ("adapter: lora\nlora_r: 8\nlora_alpha: 4096", "FT031", 6),
        ("weight_decay: 10", "FT031", 4),
        ("max_grad_norm: 1e-6", "FT031", 4),
        ("neftune_noise_alpha: 500", "FT031", 4),
    ],
)
def test_each_mistake_is_warned_of_at_its_line(tmp_path: Path, lines: str, code: str, line: int) -> None:
    # A rate that is usual for a whole model, where the case is about something else.
    before = [] if "learning_rate" in lines else ["learning_rate: 1e-5"]
    assert (code, line + len(before)) in found(tmp_path, "\n".join([*before, lines]))


@pytest.mark.parametrize(
    "lines",
    [
        "learning_rate: 2e-4\nadapter: lora",
        "learning_rate: 1e-5",
        "optimizer: sgd\nlearning_rate: 0.1",
        "learning_rate: 1e-5\nmax_steps: 100\nwarmup_steps: 10\nsave_steps: 50\nval_set_size: 0.1\neval_steps: 100",
        "learning_rate: 1e-5\nwarmup_steps: 0.1\nsave_steps: 0.5",
        "learning_rate: 1e-5\nsample_packing: true",
    ],
)
def test_a_sane_recipe_is_left_alone(tmp_path: Path, lines: str) -> None:
    assert found(tmp_path, lines) == []


def test_a_batch_as_large_as_the_data_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n" * 16)
    text = GOOD.replace("org/data", "rows.jsonl") + "learning_rate: 1e-5\nmicro_batch_size: 4\n"
    assert [fault.code for fault in judged(tmp_path, text)] == ["FT013"]
    assert judged(tmp_path, text + "gradient_accumulation_steps: 2\n") == []


def test_a_source_named_twice_is_warned_of(tmp_path: Path) -> None:
    twice = GOOD.replace("[{path: org/data, type: chat_template}]", "[{path: a/b}, {path: c/d}, {path: a/b}]")
    (fault,) = judged(tmp_path, twice + "learning_rate: 1e-5\n")
    assert fault.code == "FT025" and "datasets.2 names `a/b` again" in fault.message
    assert judged(tmp_path, twice.replace("{path: a/b}]", "{path: a/b, split: other}]") + "learning_rate: 1e-5\n") == []


def model(folder: Path, **config: Any) -> str:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text(json.dumps(config))
    return GOOD.replace("base_model: m", "base_model: ./model") + "learning_rate: 2e-4\nadapter: lora\n"


def test_modules_that_the_architecture_lacks_are_named(tmp_path: Path) -> None:
    text = model(tmp_path, model_type="phi3")
    (fault,) = judged(tmp_path, text + "lora_target_modules: [q_proj, o_proj, lm_head]\n")
    assert fault.code == "FT019" and "'q_proj'" in fault.message and "qkv_proj" in fault.message
    assert "'o_proj'" not in fault.message.split(";")[0]
    assert judged(tmp_path, text + "lora_target_modules: [qkv_proj, o_proj]\n") == []
    (fault,) = judged(tmp_path, text + r"lora_target_modules: '.*\.(q|v)_proj'" + "\n")
    assert fault.code == "FT019"


def test_packing_a_model_that_carries_state_is_warned_of(tmp_path: Path) -> None:
    (fault,) = judged(tmp_path, model(tmp_path, model_type="falcon_h1") + "sample_packing: true\n")
    assert fault.code == "FT017" and "recurrent" in fault.message


@pytest.mark.parametrize(
    ("facts", "attention", "told"),
    [
        ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, "sdpa", True),
        ({"model_type": "gemma2", "attn_logit_softcapping": None}, "sdpa", False),
        ({"model_type": "gemma2", "attn_logit_softcapping": 50.0}, "auto", False),
        ({"model_type": "llama"}, "sdpa", False),
    ],
)
def test_attention_that_would_leave_a_bound_out_is_warned_of(
    facts: dict[str, Any], attention: str, told: bool, tmp_path: Path
) -> None:
    found = judged(tmp_path, model(tmp_path, **facts) + f"attn_implementation: {attention}\n")
    assert [fault.code for fault in found] == ["FT033"] * told


def test_a_silenced_warning_is_not_shown_and_a_needless_silence_is(tmp_path: Path) -> None:
    text = GOOD + "learning_rate: 1e-2\nsilence:\n  FT012: this tiny model learns well so\n"
    assert judged(tmp_path, text) == []
    (fault,) = judged(tmp_path, text.replace("1e-2", "1e-5"))
    assert (fault.code, fault.where and fault.where.line) == ("FT024", 6)


@pytest.mark.parametrize(
    ("silence", "says"),
    [
        ("{FT999: because}", "is no code"),
        ("{FT002: because}", "is an error"),
        ("{FT012: ''}", "silence.FT012"),
        ("{FT012: }", "silence.FT012"),
        ("FT012", "silence"),
        ("{yes: because}", "silence"),
    ],
)
def test_silence_needs_a_code_that_exists_and_a_reason(tmp_path: Path, silence: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        judged(tmp_path, GOOD + f"silence: {silence}\n")


def test_every_code_is_used_somewhere() -> None:
    package = Path(__file__).parent.parent / "finetune"
    text = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "codes.py")
    assert [code for code in CODES if f'"{code}"' not in text] == []
