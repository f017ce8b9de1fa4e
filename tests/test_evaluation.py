"""What is measured while training: losses, scores of generated answers, sample answers, the best checkpoint."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from finetune.errors import RecipeError, TrainingError
from finetune.evaluation.best import best_and_last
from finetune.evaluation.questions import questions
from finetune.evaluation.scores import Answered, scores
from finetune.evaluation.trial import largest_batch, lengths_of
from finetune.generation import Prompt, answer, answers_to
from finetune.recipe.measures import MEASURES
from tests import tiny


def measured(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "eval_loss" in line]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_validation_loss_is_the_same_however_its_rows_are_batched(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    found = []
    for batching in ({"eval_batch_size": 1}, {"eval_batch_size": 7}, {"sample_packing": True, "eval_batch_size": 2}):
        code, _, err = finetune(write_recipe(val_set_size=0.4, max_steps=1, **batching), "--overwrite")
        assert code == 0, err
        found.append(measured(tmp_path / "run")[0])
    losses = [line["eval_loss"] for line in found]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    assert [line["eval_perplexity"] for line in found] == pytest.approx([math.exp(loss) for loss in losses])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_several_questions_at_once_are_answered_as_each_alone(family: str, tiny_models: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(tiny_models[family])
    model = AutoModelForCausalLM.from_pretrained(tiny_models[family]).eval()
    config = GenerationConfig(max_new_tokens=9, do_sample=False, eos_token_id=[2], pad_token_id=tokenizer.pad_token_id)
    prompts = [Prompt(text, text=text) for text in ("the sea", "a walk home and talk about small things", "you ask I")]
    alone = [answer(prompt, model, tokenizer, config) for prompt in prompts]
    assert answers_to(prompts, model, tokenizer, config, 2) == alone
    assert len({one.text for one in alone}) == 3


def test_questions_are_all_that_stands_before_what_is_learned() -> None:
    row = {"input_ids": [1, 2, 3, 4, 5, 6, 7], "labels": [-100, -100, 3, 4, -100, -100, 7]}
    found = [(one.given, one.expected) for one in questions([row], 0.5, None)]
    assert found == [([1, 2], [3, 4]), ([1, 2, 3, 4, 5, 6], [7])]
    packed = {"input_ids": [1, 2, 3, 9, 8, 7, 6], "labels": [-100, -100, 3, 9, 8, 7, 6], "seq_lengths": [3, 4]}
    found = [(one.given, one.expected) for one in questions([packed], 0.5, None)]
    assert found == [([1, 2], [3]), ([9, 8], [7, 6])]
    assert len(questions([row, row], 0.5, 3)) == 3


def test_scores_are_what_the_definitions_say() -> None:
    said, wanted = ["The cat sat.", "yes", "no idea"], ["the cat sat down", "Yes", "no"]
    found = scores(list(MEASURES), Answered(said, wanted))
    assert found["exact_match"] == 0 and scores(["exact_match"], Answered([" a\n"], ["a"])) == {"exact_match": 1}
    assert found["token_f1"] == pytest.approx((6 / 7 + 1 + 2 / 3) / 3)
    assert found["rouge1"] == pytest.approx(found["token_f1"])
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert 0 < found["chrf"] < 100 and found["ter"] > 0
    exact = scores(["sacrebleu", "ter"], Answered(["the cat sat down on the mat"], ["the cat sat down on the mat"]))
    assert exact == pytest.approx({"sacrebleu": 100.0, "ter": 0.0})
    assert set(found) == {figure for name in MEASURES for figure in MEASURES[name].figures} - {"perplexity"}


def test_classes_count_the_same_and_an_answer_that_is_no_label_is_wrong() -> None:
    answered = Answered(["good", "GOOD", "maybe", "bad"], ["good", "bad", "bad", "bad"], ["good", "bad"])
    found = scores(["accuracy", "precision", "recall", "f1"], answered)
    assert found["accuracy"] == 0.5
    assert found["precision"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["recall"] == pytest.approx((1 + 1 / 3) / 2)
    assert found["f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_scripts_without_spaces_are_compared_by_character() -> None:
    assert scores(["token_f1", "rouge"], Answered(["海很平静"], ["海很大"]))["token_f1"] == pytest.approx(4 / 7)


SCORED = {
    "val_set_size": 0.2,
    "do_causal_lm_eval": True,
    "eval_causal_lm_metrics": ["exact_match", "rouge"],
    "eval_max_new_tokens": 4,
    "eval_steps": 1,
}


def test_a_run_can_end_early_and_keep_the_best_by_a_score_of_its_answers(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    best = {"metric_for_best_model": "rougeL", "early_stopping_patience": 2, "save_steps": 1, "learning_rate": 1e-9}
    code, out, err = finetune(write_recipe(**SCORED, **best, max_steps=20, eval_table_size=2, generate_samples=True))
    assert code == 0, err
    run = tmp_path / "run"
    lines, facts = measured(run), json.loads((run / "run.json").read_text())
    assert lines[0].keys() >= {"eval_rouge1", "eval_rougeL", "eval_exact_match", "eval_answers_stopped"}
    assert facts["steps"] == 3 and facts["weights"] == "best"
    assert facts["best"] == {"step": 1, "value": lines[1]["eval_rougeL"], "checkpoint": "checkpoints/checkpoint-1"}
    assert facts["last"] == {"step": 3, "checkpoint": "checkpoints/checkpoint-3"}
    assert "rougeL" in out and "checkpoints/checkpoint-3" in out and "the best, of step 1" in out
    table, samples = rows_of(run / "eval_answers.jsonl"), rows_of(run / "samples.jsonl")
    assert [row["step"] for row in table] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table[0]["expected"] and table[0]["question"].endswith("assistant")
    assert [(row["step"], row["question"]) for row in samples] == [(step, "how are you") for step in range(4)]


def test_training_does_not_notice_that_it_is_measured(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    sampled = {"generate_samples": True, "sample_steps": 1, "generation_temperature": 1.5, "lora_dropout": 0.3}
    losses = []
    for changes in ({"lora_dropout": 0.3}, sampled):
        assert finetune(write_recipe(max_steps=4, **changes), "--overwrite")[0] == 0
        losses.append([row["loss"] for row in rows_of(tmp_path / "run" / "metrics.jsonl") if "loss" in row])
    assert losses[0] == losses[1]
    assert [row["step"] for row in rows_of(tmp_path / "run" / "samples.jsonl")] == [1, 2, 3, 4]


def test_the_batch_that_takes_most_is_the_widest_once_padded() -> None:
    from datasets import Dataset

    assert largest_batch([1, 9, 2, 2, 8, 8], 2, grouped=False) == [0, 1]
    assert largest_batch([1, 9, 2, 2, 8, 8], 2, grouped=True) == [1, 4]
    rows = Dataset.from_dict({"prompt_ids": [[1], [1, 2]], "text": ["abc", ""], "n": [1, 2]})
    assert lengths_of(rows) == [4, 2]


def test_a_validation_batch_that_does_not_fit_ends_the_run_before_its_first_step(
    write_recipe: Any, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    whole = LlamaForCausalLM.forward

    def small(self: Any, input_ids: Any = None, **named: Any) -> Any:
        if not self.training and input_ids.shape[0] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return whole(self, input_ids=input_ids, **named)

    monkeypatch.setattr(LlamaForCausalLM, "forward", small)
    code, _, err = finetune(write_recipe(val_set_size=0.4, eval_batch_size=4, batch_flattening=False))
    assert code == TrainingError.exit_code
    assert "the largest batch of the validation rows, 4 rows" in err and err.rstrip().endswith("eval_batch_size: 2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"do_causal_lm_eval": True}, "asks the validation rows, but there are none"),
        ({"generate_samples": True}, "set `sample_steps: 50`"),
        (SCORED | {"train_on_inputs": True}, "train_on_inputs: false"),
        (SCORED | {"eval_causal_lm_metrics": ["comet"]}, "comet is a model of its own"),
        (SCORED | {"save_steps": 1, "load_best_model_at_end": True, "metric_for_best_model": "chrf"}, "not measured"),
        ({"generation_do_sample": True}, "generation_temperature: 0.7"),
    ],
)
def test_what_cannot_be_measured_is_named(changes: dict[str, Any], said: str, write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune("validate", write_recipe(**changes))
    assert code == RecipeError.exit_code
    assert said in err


def test_a_package_that_scores_is_asked_for_before_the_run(write_recipe: Any) -> None:
    from finetune.machine import Machine
    from finetune.recipe.load import load_recipe
    from finetune.resolve import resolve

    recipe = load_recipe(write_recipe(**SCORED)).recipe
    missing = [line for line in resolve(recipe, Machine()).blockers if "rouge-score" in line]
    assert missing == ["eval_causal_lm_metrics: pip install 'finetune-recipes[eval]' (rouge-score is missing)"]


def test_perplexity_is_of_tokens_alone_where_routers_have_a_loss_too() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune.evaluation.measuring import Measuring

    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    kinds = {"num_attention_heads": 2, "num_local_experts": 4, "output_router_logits": True}
    config = AutoConfig.for_model("mixtral", **sizes, **kinds, num_key_value_heads=2, router_aux_loss_coef=0.5)
    model = AutoModelForCausalLM.from_config(config).eval()
    measuring = Measuring(True, None, None, cast(Any, None))
    measuring.attach(SimpleNamespace(model=model, router_aux_loss_coef=0.5))
    ids = torch.arange(12)[None]
    with torch.no_grad():
        output = model(input_ids=ids, labels=ids)
    (summed, tokens), logits = measuring.batches[0], output.logits[0, :-1]
    assert int(tokens) == 11
    assert float(summed) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, ids[0, 1:])) * 11, rel=1e-5)
    assert float(output.loss) * 11 > float(summed) + 1


def test_a_measurement_that_is_no_number_is_never_the_best(tmp_path: Path) -> None:
    args = SimpleNamespace(metric_for_best_model=None, greater_is_better=None, load_best_model_at_end=False)
    args.output_dir = str(tmp_path / "checkpoints")
    history = [{"step": step, "eval_loss": value} for step, value in ((1, math.nan), (2, 2.0), (3, math.nan), (4, 3.0))]
    state = SimpleNamespace(log_history=history, global_step=4, best_model_checkpoint=None)
    assert best_and_last(args, state, tmp_path)["best"] == {"step": 2, "value": 2.0, "checkpoint": None}
