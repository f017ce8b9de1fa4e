"""`finetune prove`: a tiny model of the recipe's architecture goes the whole way, and each promise is measured."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from finetune.data.prepared import Prepared
from finetune.exporting.older import for_older_readers
from finetune.formats import KINDS, READERS
from finetune.formats.meaning import Conversation, Fields
from finetune.memory.known import _MODELS
from finetune.proving import checks
from finetune.proving.base import known_model
from finetune.proving.families import family_of
from finetune.proving.lines import Line, Report
from finetune.proving.made_rows import made_rows
from finetune.proving.prove import REWARD, _rewards_made_up, proved
from finetune.proving.replaced import CHANGED, DROPPED, ELSEWHERE, KEPT
from finetune.proving.showing import Shown
from finetune.proving.tokenizer import marks_of
from finetune.recipe.recipe import Recipe
from finetune.recipe.rows import PromptFormat
from finetune.rendering.layouts import SHIPPED
from finetune.rendering.templates import MARKS, TRL
from tests.conftest import ROOT


@pytest.mark.parametrize("model", sorted(_MODELS))
def test_every_model_of_known_size_has_a_family_whose_tokenizer_can_write_its_template(model: str) -> None:
    for name in (f"unsloth/{model}", f"google/{model}-it"):
        family = family_of(name)
        assert family is not None and family.config["hidden_size"] and family.tokenizer.eos
        template = family.tokenizer.template
        assert template is None or template in {*MARKS, *SHIPPED} or template.startswith(TRL)
        assert set(marks_of(template or "")) <= {*family.tokenizer.special, *family.tokenizer.words}


@pytest.mark.parametrize(
    ("name", "family", "eos"),
    [
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "llama-3.1", "<|eot_id|>"),
        ("unsloth/llama-3-8b-bnb-4bit", "llama-3", "<|end_of_text|>"),
        ("unsloth/Qwen3-8B-unsloth-bnb-4bit", "qwen-3", "<|im_end|>"),
        ("unsloth/gemma-3-4b-it", "gemma-3", "<eos>"),
        ("mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo", "</s>"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", "<|im_end|>"),
    ],
)
def test_mirrors_and_4_bit_copies_are_of_the_family(name: str, family: str, eos: str) -> None:
    found = family_of(name)
    assert found is not None and (found.name, found.tokenizer.eos) == (family, eos)


def test_a_name_that_nobody_knows_has_no_family() -> None:
    assert family_of("somebody/some-model") is None


def test_every_key_is_kept_left_out_or_changed_in_a_proof_and_no_key_twice() -> None:
    tables = (KEPT, DROPPED.keys(), CHANGED.keys(), ELSEWHERE)
    assert sorted(key for table in tables for key in table) == sorted(Recipe.model_fields)
    assert all(why.strip() for why in DROPPED.values())


@pytest.mark.parametrize("name", sorted(READERS))
def test_rows_can_be_made_up_in_every_form(name: str) -> None:
    kind = name.split(":")[0] if name.split(":")[0] in KINDS else "rows"
    worded = {"custom": {"field_instruction": "q", "field_output": "a"}, "user_defined": {"field_prompt": "q"}}
    prompt = worded.get(name.split(":")[-1])
    if name == "custom":
        prompt = PromptFormat(field_instruction="q", field_output="a").model_dump()
    fields = Fields(kind=kind, prompt=prompt)
    rows = made_rows(name, fields, 12, 1, [])
    assert rows == made_rows(name, fields, 12, 1, [])
    assert len({str(READERS[name].read(row, fields)) for row in rows}) > 6


def test_made_up_rows_have_the_recipes_names_for_columns_fields_and_roles() -> None:
    fields = Fields(
        messages="talk", role="who", content="what", roles={"user": ["me"], "assistant": ["bot"]}, tools="functions"
    )
    rows = made_rows("chat_template", fields, 12, 1, [])
    assert rows[0]["talk"][0]["who"] == "me" and rows[0]["talk"][0]["what"]
    assert any(turn.get("tool_calls") for row in rows for turn in row["talk"])
    meaning = READERS["chat_template"].read(rows[0], fields)
    assert isinstance(meaning, Conversation) and meaning.tools


def test_a_shipped_recipe_is_proved_and_the_report_names_every_replacement(
    finetune: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, err = finetune("prove", ROOT / "recipes" / "phi35_samantha.yaml", "--format", "json")
    report = json.loads(out)["recipes"][0]
    assert (code, report["passed"], err) == (0, True, "")
    states = {line["check"]: line["state"] for line in report["checks"]}
    assert {"loss falls", "resume", "accumulation", "loss by hand", "merge", "generation stops"} <= states.keys()
    assert set(states.values()) == {"passed"}
    assert "made up" in report["facts"]["tokenizer"] and "made-up rows" in report["facts"]["data"]
    assert {"optimizer", "learning_rate", "num_epochs"} <= {one["key"] for one in report["replaced"]}


def test_functions_that_reward_have_one_beside_them_in_which_answers_differ(tmp_path: Path) -> None:
    keys = {"base_model": "m", "datasets": [{"path": "d"}], "output_dir": "o", "rl": "grpo"}
    for written, weights, found, weighed in (
        ("rewards.py:right", [0.5], ["rewards.py:right", f"{REWARD}:even"], [0.5, 1.0]),
        ("owner/reward-model", None, [f"{REWARD}:even"], None),
    ):
        trl = {"reward_funcs": [written], "reward_weights": weights, "num_generations": 2}
        report = Report("r.yaml")
        made = _rewards_made_up(report, Recipe.model_validate(keys | {"trl": trl}), tmp_path)
        assert made.trl is not None
        assert (made.trl.reward_funcs, made.trl.reward_weights) == (found, weighed)
        assert len(report.replaced) == 1 and (tmp_path / REWARD).is_file()


def talks(path: Path, turns: list[int]) -> list[dict[str, str]]:
    """Rows of so many questions and answers each."""
    said = ("how warm is the {} sea today", "the {} sea is as warm as milk")
    rows = [
        [
            {"role": role, "content": text.format(f"{place}.{turn}")}
            for turn in range(count)
            for role, text in zip(("user", "assistant"), said, strict=True)
        ]
        for place, count in enumerate(turns)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return [{"path": str(path), "type": "chat_template"}]


@pytest.mark.parametrize(
    ("keys", "answers", "also"),
    [
        ({"multiturn": "explode"}, 13, "; rows that make more than one document: 4"),
        ({"multiturn": "last"}, 7, ""),
        ({"excess_length_strategy": "split", "sequence_len": 110}, 13, "; rows that make more than one document: "),
        ({"sequence_len": 140}, 7, "; rows that make none: 2"),
    ],
    ids=["explode", "last", "split", "dropped"],
)
def test_each_row_is_compared_with_all_documents_that_it_makes(
    keys: dict[str, Any], answers: int, also: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recipe.yaml"
    values = {"base_model": "Qwen/Qwen2.5-1.5B-Instruct", "adapter": "lora", "learning_rate": 2e-4, "output_dir": "o"}
    values |= {"datasets": talks(tmp_path / "rows.jsonl", [1, 2, 3, 1, 2, 3, 1])} | keys
    path.write_text(yaml.safe_dump(values))
    monkeypatch.setattr(checks, "ORDER", (checks.format,))

    def labels() -> Line:
        lines = proved(path, [], None).lines
        return next((line for line in lines if line.check == "labels"), lines[-1])

    line = labels()
    assert line.state == "passed" and f"the words of {answers} of {answers} answers, of 0 of " in line.said, line
    assert also in line.said and ("rows that make" in line.said) == bool(also), line
    right = Prepared.rows

    def unlearned(self: Prepared, purpose: str) -> Any:
        found = list(right(self, purpose))
        source, number, ids, found_labels = found[-2]
        return [*found[:-2], (source, number, ids, [-100] * len(found_labels)), found[-1]]

    def all_learned(self: Prepared, purpose: str) -> Any:
        return [(source, number, ids, ids) for source, number, ids, _ in right(self, purpose)]

    for wrong in (unlearned, all_learned):
        monkeypatch.setattr(Prepared, "rows", wrong)
        assert labels().state == "FAILED", wrong


def test_a_report_for_junit_has_a_suite_for_each_recipe_and_a_case_for_each_check() -> None:
    from xml.etree import ElementTree

    good, bad = Report("good.yaml", seconds=4.2), Report("<bad> & worse.yaml", exit_code=9)
    good.facts["data"] = "12 rows of a\x00b"
    good.add("format", True, "12 rows")
    good.skip("merge", "virtual tokens cannot be merged")
    bad.add("loss falls", False, '3 -> "4"')
    suites = ElementTree.fromstring(Shown("junit", 2).end([good, bad])).findall("testsuite")
    told = [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in suites]
    assert told == [("good.yaml", "2", "0", "1"), ("<bad> & worse.yaml", "1", "1", "0")]
    (failure,) = suites[1].findall("testcase/failure")
    assert failure.get("message") == '3 -> "4"' and suites[1].find("testcase").get("name") == "loss falls"  # type: ignore[union-attr]
    assert [skipped.get("message") for skipped in suites[0].iter("skipped")] == ["virtual tokens cannot be merged"]


@pytest.mark.parametrize(
    ("losses", "state"),
    [
        ([6.9, 4.0, 2.0, 1.5, 1.2, 1.0, 1.0, 0.9] + [0.8] * 16, "passed"),
        ([6.9, 4.0, 2.0, 1.5, 1.2, 1.0, 1.0, 0.9, 14.0] + [0.8] * 15, "FAILED"),
        ([6.9] * 24, "FAILED"),
    ],
    ids=["falls within the first epoch", "jumps", "stays"],
)
def test_a_loss_that_falls_from_its_first_step_on_is_no_jump(losses: list[float], state: str) -> None:
    report = Report("r.yaml")
    plot = SimpleNamespace(kind="rows", method="sft", whole={"micro_batch_size": 2, "gradient_accumulation_steps": 2})
    case: Any = SimpleNamespace(report=report, plot=plot, documents=[None] * 32)
    checks._fell(case, SimpleNamespace(losses=losses))  # type: ignore[arg-type]
    assert [line.state for line in report.lines] == [state], report.lines


def test_what_a_library_writes_into_a_configuration_stays_out_of_the_next_proof() -> None:
    known = known_model("unsloth/Phi-3.5-mini-instruct", None, None)
    known.config["rope_scaling"]["original_max_position_embeddings"] = 1
    again = known_model("unsloth/Phi-3.5-mini-instruct", None, None)
    assert "original_max_position_embeddings" not in again.config["rope_scaling"]


def test_a_configuration_for_older_readers_is_read_as_it_was(tmp_path: Path) -> None:
    from transformers import AutoConfig, LlamaConfig

    factors = {"short_factor": [1.0] * 8, "long_factor": [1.08] * 8, "original_max_position_embeddings": 4096}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, **factors}
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, head_dim=16, max_position_embeddings=131072, rope_parameters=rope
    )
    config.save_pretrained(tmp_path)
    before = AutoConfig.from_pretrained(tmp_path).rope_parameters
    for_older_readers(tmp_path)
    after = AutoConfig.from_pretrained(tmp_path).rope_parameters
    assert {name: after.get(name) for name in rope} == {name: before.get(name) for name in rope}
