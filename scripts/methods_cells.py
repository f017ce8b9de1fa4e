"""One combination of method, adapter and weights, trained for real through the command line, and what came of it: how
many steps were run, whether the loss fell (or the reward rose), whether what was saved loads again as it was and gives
the same when it is merged; or why the program refuses it. Knows the tables of methods and adapters, and no method's
inside."""

import contextlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from finetune.cli import main
from finetune.methods import METHODS

STEPS = 12
PARTS: dict[str, dict[str, Any]] = {
    "all weights": {"learning_rate": 2e-3},
    "lora": {"adapter": "lora"},
    "lora, DoRA": {"adapter": "lora", "peft_use_dora": True},
    "lora, PiSSA": {"adapter": "lora", "peft_init_lora_weights": "pissa"},
    "qlora": {"adapter": "qlora"},
    "qlora, LoftQ": {"adapter": "qlora", "peft": {"loftq_config": {"loftq_bits": 4}}},
    "ia3": {"adapter": "ia3", "learning_rate": 0.1},
    "prefix_tuning": {"adapter": "prefix_tuning", "num_virtual_tokens": 4, "learning_rate": 3e-2},
    "prompt_tuning": {"adapter": "prompt_tuning", "num_virtual_tokens": 4, "learning_rate": 0.3},
    "p_tuning": {"adapter": "p_tuning", "num_virtual_tokens": 4},
}
"""What is trained -> its lines."""
VARIANTS: dict[str, dict[str, Any]] = {
    "rsLoRA": {"peft_use_rslora": True},
    "LoRA+": {"loraplus_lr_ratio": 8},
    "OLoRA": {"peft_init_lora_weights": "olora"},
    "ranks by module": {"lora_rank_pattern": {"q_proj": 2}, "lora_alpha_pattern": {"q_proj": 4}},
    "a range of layers": {
        "lora_target_modules": ["q_proj", "v_proj", "up_proj"],
        "peft_layers_to_transform": [1],
        "learning_rate": 2e-2,
    },
    "modules saved whole": {"lora_modules_to_save": ["embed_tokens", "lm_head"], "tokens": ["<tool>"]},
    "rows of new tokens": {"peft_trainable_token_indices": {"embed_tokens": [320, 321]}},
    "from an adapter": {"lora_model_dir": "earlier"},
}
"""Kinds of LoRA -> the lines beside `adapter: lora`."""
FROZEN: dict[str, dict[str, Any]] = {
    "a part of the weights": {"unfrozen_parameters": [r"model\.layers\.1\.", "lm_head"], "learning_rate": 2e-3}
}
WEIGHTS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "4-bit nf4": {"load_in_4bit": True},
    "4-bit fp4, quantized once": {
        "load_in_4bit": True,
        "bnb_config_kwargs": {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False},
    },
    "8-bit": {"load_in_8bit": True},
    "8-bit torchao": {"load_in_torchao": "int8"},
    "bnb-4bit checkpoint": {"base_model": "base-bnb-4bit"},
    "GPTQ checkpoint": {"base_model": "base-gptq"},
    "AWQ checkpoint": {"base_model": "base-awq"},
}
"""Weights -> their lines. A name of base_model is a folder beside the cell."""
LINES: dict[str, dict[str, Any]] = {"sft": {}, "pretraining": {}, "reward": {"reward_model": True}}
"""Method -> the lines that ask for it; the others are asked for by `rl`."""
TALKS = {"trl": "what rewards answers needs a model that has some"}
"""Keys of methods that begin with a model that was fine-tuned on the rows before, and why."""
WORDS = "the sun is warm and the sea is calm today we walk home and talk about small things".split()
REWARD = (
    "def calm(completions, **columns):\n"
    "    texts = [one if isinstance(one, str) else one[0]['content'] for one in completions]\n"
    "    return [float(text.count('a')) for text in texts]\n"
)
EQUAL, EQUAL_QUANTIZED = 1e-5, 2e-2
"""Largest difference of logits after loading that counts as equal; on quantized weights TRL trains in bfloat16."""


def talking_model(folder: Path) -> Path:
    """The tiny model after a fine-tuning of all weights on the rows: what answers are rewarded of."""
    place = folder / "talking"
    place.mkdir()
    own = {"base_model": str(folder / "base"), "learning_rate": 5e-3, "max_steps": 60, "output_dir": str(place / "run")}
    own |= {"sequence_len": 128, "micro_batch_size": 8, "gradient_accumulation_steps": 1, **lines_for("sft", place)}
    (place / "recipe.yaml").write_text(yaml.safe_dump(own))
    assert main([str(place / "recipe.yaml")]) == 0
    shutil.copytree(place / "run" / "model", folder / "talks")
    return folder / "talks"


def rows_for(kind: str) -> list[dict[str, Any]]:
    """48 rows that a tiny model learns from: the good answers are calm, the bad ones are not."""
    rng = random.Random(3)
    found: list[dict[str, Any]] = []
    for _ in range(48):
        prompt = [{"role": "user", "content": " ".join(rng.choices(WORDS, k=5))}]
        good = [{"role": "assistant", "content": "the sea is calm " + " ".join(rng.choices(WORDS, k=3))}]
        bad = [{"role": "assistant", "content": "zz qq xx " + " ".join(rng.choices(WORDS, k=2))}]
        label = rng.random() < 0.5
        found.append(
            {
                "pair": {"prompt": prompt, "chosen": good, "rejected": bad},
                "judged": {"prompt": prompt, "completion": good if label else bad, "label": label},
                "prompt": {"prompt": prompt},
                "text": {"text": f"{prompt[0]['content']}, {good[0]['content']}"},
                "rows": {"messages": prompt + good},
            }[kind]
        )
    return found


def lines_for(method: str, place: Path) -> dict[str, Any]:
    """The lines of a method, with its data and what rewards written beside the recipe."""
    kind = "text" if method == "pretraining" else METHODS[method].kind
    (place / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_for(kind)))
    forms = {"rows": "chat_template", "text": "completion"}
    entry = {"path": "data.jsonl"} | ({"type": forms[kind]} if kind in forms else {})
    lines = LINES.get(method, {"rl": method}) | {"datasets": [entry]}
    if kind != "prompt":
        return lines | {"val_set_size": 0.2} | ({} if method == "reward" else {"sample_prompts": ["how are you"]})
    (place / "rewards.py").write_text(REWARD)
    rewarded = {"reward_funcs": ["rewards.py:calm"], "num_generations": 8, "max_completion_length": 8}
    return lines | {"trl": rewarded, "micro_batch_size": 32}


def cell(method: str, lines: dict[str, Any], weights: str, place: Path) -> str:
    """What came of one combination, in a few words. The models stand beside `place`."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    values = {
        "base_model": "base",
        "backend": "transformers",
        "learning_rate": 5e-3,
        "max_steps": STEPS,
        "sequence_len": 128,
        "logging_steps": 1,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "output_dir": str(place / "run"),
        **({} if method == "reward" else {"generation_max_new_tokens": 2}),
        **lines_for(method, place),
        **WEIGHTS[weights],
        **lines,
    }
    if TALKS.keys() & values.keys():
        values["base_model"] = values["base_model"].replace("base", "talks")
    for key in {"base_model", "lora_model_dir"} & values.keys():
        values[key] = str(place.parent / values[key])
    recipe = place / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()), saved_logits() as said:
        try:
            code = main([str(recipe)])
        except Exception as error:  # noqa: BLE001 - a fault of the program is no blank cell either
            return f"FAILED: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
    if code:
        return f"refused: {_reason(shown.getvalue(), place.parent)}"
    return ", ".join(
        [*_learned(place / "run"), *_same(place, said, bool(WEIGHTS[weights]), "talks" if "trl" in values else "base")]
    )


def _reason(text: str, folder: Path) -> str:
    line = next((line for line in reversed(text.splitlines()) if "error: " in line), text.strip())
    return line.split("error: ", 1)[-1].split(" [FT")[0].replace("|", "/").replace(f"{folder}/", "")


def _learned(run: Path) -> Iterator[str]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rewards = [line["reward"] for line in lines if "reward" in line]
    measured = [line["eval_loss"] for line in lines if "eval_loss" in line]
    yield f"{len([line for line in lines if 'loss' in line])} steps"
    if rewards:
        part = max(1, len(rewards) // 4)
        first, last = (sum(some) / part for some in (rewards[:part], rewards[-part:]))
        yield f"reward {'rose' if last > first else 'did not rise'} ({first:.2f} → {last:.2f})"
    else:
        first, last = measured[0], measured[-1]
        yield f"loss {'fell' if last < first else 'did not fall'} ({first:.3f} → {last:.3f})"


def _same(place: Path, said: list[Any], quantized: bool, base: str) -> Iterator[str]:
    from finetune.plan import Plan
    from finetune.rundir import RunDir
    from finetune.trained import load_trained

    run = place / "run"
    plan = Plan.from_json(json.loads((run / "plan.json").read_text()))
    try:
        model = load_trained(plan, RunDir(run)).model
    except Exception as error:  # noqa: BLE001 - the table says what went wrong, whatever it is
        yield f"reload failed ({str(error).splitlines()[0][:80]})"
        return
    gap = float((logits(model) - said[-1]).abs().max())
    yield f"reload {'equal' if gap <= (EQUAL_QUANTIZED if quantized else EQUAL) else 'differs'} ({gap:.0e})"
    if plan.has_adapter:
        yield _merged(run / "adapter", place.parent / base, type(model.get_base_model()), model.config.vocab_size)


def _merged(adapter: Path, base: Path, kind: Any, vocabulary: int) -> str:
    """Merged in float32 on the weights as they are in base_model, which is how an adapter is merged."""
    from peft import PeftConfig, PeftModel

    if PeftConfig.from_pretrained(str(adapter)).is_prompt_learning:
        return "merge: none, its tokens are no weights"
    whole = kind.from_pretrained(base, **({"num_labels": 1} if kind.__name__.endswith("Classification") else {}))
    if whole.config.vocab_size != vocabulary:
        whole.resize_token_embeddings(vocabulary)
    model = PeftModel.from_pretrained(whole, str(adapter))
    before = logits(model)
    gap = float((logits(model.merge_and_unload()) - before).abs().max())
    return f"merge {'equal' if gap < EQUAL else 'differs'} ({gap:.0e})"


def logits(model: Any) -> Any:
    import torch

    ids = torch.arange(24).reshape(2, 12)
    model.eval()
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
    return found[:, -12:] if found.ndim == 3 else found


@contextlib.contextmanager
def saved_logits() -> Iterator[list[Any]]:
    """What the model says each time a finished run saves it."""
    import peft
    import transformers

    said: list[Any] = []
    owners = (peft.PeftModel, transformers.PreTrainedModel)
    whole = {owner: owner.save_pretrained for owner in owners}

    def recorder(owner: Any) -> Any:
        def recorded(self: Any, save_directory: Any, *rest: Any, **more: Any) -> Any:
            if str(save_directory).endswith(".partial"):
                said.append(logits(self))
            return whole[owner](self, save_directory, *rest, **more)

        return recorded

    for owner in owners:
        owner.save_pretrained = recorder(owner)
    try:
        yield said
    finally:
        for owner in owners:
            owner.save_pretrained = whole[owner]
