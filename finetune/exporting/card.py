"""The model card of a run: what it was made of, by which recipe, on which data, with which result, under which licence.
Says what the run folder says; sends nothing."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune import __version__
from finetune.exporting.card_facts import Sent, entries, evaluations, head, is_hub_id
from finetune.exporting.finished import Finished
from finetune.exporting.places import PROOF
from finetune.generation import prompt_for

ANSWERS = 3
"""Sample answers that a card shows."""
SHOWN = 300
"""Characters of one."""
FIGURES = (
    ("steps", "steps"),
    ("loss_first", "training loss, first"),
    ("loss_last", "training loss, last"),
    ("eval_loss_first", "validation loss before training"),
    ("eval_loss_last", "validation loss after training"),
    ("perplexity", "validation perplexity"),
    ("train_seconds", "seconds of training"),
    ("tokens_per_second", "tokens per second"),
)


def card(sent: Sent) -> str:
    """The text of README.md."""
    run = sent.run
    parts = [
        f"---\n{head(sent)}\n---\n",
        f"# {sent.repo.rpartition('/')[2]}\n",
        f"{_what(sent)} Trained with [finetune](https://pypi.org/project/finetune-recipes/) {__version__} from one "
        "recipe, which is below and in `finetune/`.\n",
        _use(sent),
        _data(run),
        _results(run),
        _evaluations(run),
        _answers(run),
        LIMITS,
        _proof(sent.folder),
        _recipe(run),
        f"## Licence\n\n{sent.license}. The base model and the data have licences of their own.\n",
    ]
    return "\n".join(part for part in parts if part)


def base_name(sent: Sent) -> str:
    """The hub id of the base model, or a local folder's last name: nobody else has the path."""
    return sent.base.name if sent.base is not None else Path(str(sent.run.keys.get("base_model"))).name


def _what(sent: Sent) -> str:
    method = str(sent.run.keys.get("adapter") or "all weights")
    revision = sent.base.revision if sent.base is not None else ""
    at = f" at revision `{revision}`" if revision else ""
    says = {"adapter": "An adapter for", "gguf": "A GGUF file made from", "ollama": "GGUF file and Modelfile made from"}
    return f"{says.get(sent.kind, 'A model fine-tuned from')} `{base_name(sent)}`{at} ({method})."


def _use(sent: Sent) -> str:
    if sent.kind in ("gguf", "ollama"):
        file = next((path.name for path in sorted(sent.folder.glob("*.gguf"))), "MODEL.gguf")
        line = f"llama-server -hf {sent.repo}" if sent.kind == "gguf" else "ollama create NAME -f Modelfile"
        return f"## Use\n\n```sh\n{line}   # {file}\n```\n"
    return "" if sent.run.scores else f"## Use\n\n```python\n{_code(sent)}```\n\n{STOPS}\n"


STOPS = "Stop tokens and sampling are in `generation_config.json`, the template is the tokenizer's."


def _code(sent: Sent) -> str:
    """Python that answers a question, put as the run's own are."""
    kind = "AutoPeftModelForCausalLM" if sent.kind == "adapter" else "AutoModelForCausalLM"
    package = "peft" if sent.kind == "adapter" else "transformers"
    first = f"from {package} import {kind}\nfrom transformers import AutoTokenizer\n"
    model = f'{kind}.from_pretrained("{sent.repo}")'
    asked = prompt_for("Hello", sent.run.style)
    if asked.messages:
        question = 'messages = [{"role": "user", "content": "Hello"}]\nids = tokenizer.apply_chat_template(messages, '
        question += 'add_generation_prompt=True, return_dict=True, return_tensors="pt")\n'
    else:
        question = f'ids = tokenizer({asked.text!r}, return_tensors="pt")\n'
    return (
        f'{first}\ntokenizer = AutoTokenizer.from_pretrained("{sent.repo}")\nmodel = {model}\n{question}'
        "print(tokenizer.decode(model.generate(**ids)[0]))\n"
    )


def _data(run: Finished) -> str:
    counted = run.folder.read("data.json") if (run.folder.path / "data.json").is_file() else {}
    lines = ["## Data\n"]
    for entry in entries(run):
        path = str(entry["path"])
        name = path if is_hub_id(path) or "://" in path else Path(path).name
        extra = [f"`{key}: {entry[key]}`" for key in ("type", "split", "revision", "name") if entry.get(key)]
        lines.append(f"- `{name}`" + (f" ({', '.join(extra)})" if extra else ""))
    for purpose, facts in counted.items():
        if isinstance(facts, Mapping) and "kept" in facts:
            lines.append(f"- {purpose}: {facts['kept']:,} rows, {facts.get('tokens', 0):,} tokens")
    return "\n".join(lines) + "\n"


def _results(run: Finished) -> str:
    marker = run.folder.read("run.json")
    rows = [(name, marker[key]) for key, name in FIGURES if marker.get(key) is not None]
    for name, both in (marker.get("measures") or {}).items():
        rows.append((name, f"{both['first']:.4g} -> {both['last']:.4g}"))
    if not rows:
        return ""
    said = [f"| {name} | {value if isinstance(value, str | int) else format(value, '.4g')} |" for name, value in rows]
    return "\n".join(["## Results\n", "| figure | value |", "|---|---:|", *said, ""])


LIMITS = (
    "## Limits\n\nMeasured is what stands above, and nothing else: what it says of other subjects, and whether that is "
    "right, fair or harmless, was not looked at.\n"
)


def _evaluations(run: Finished) -> str:
    """What `finetune evaluate` found, with where each figure lies in 95 of 100 draws of the rows."""
    parts = []
    for name, found in evaluations(run):
        sides = [
            side for side in ("base", "tuned", "difference") if any(side in one for one in found["figures"].values())
        ]
        lines = [f"| {' | '.join(['figure', *sides])} |", f"|---|{'---:|' * len(sides)}"]
        for figure, both in found["figures"].items():
            lines.append(f"| {' | '.join([figure, *(_between(both.get(side)) for side in sides)])} |")
        rows = f", {found['rows']:,} rows" if isinstance(found.get("rows"), int) else ""
        of = Path(str(found.get("data") or "tasks of lm-eval")).name
        parts.append(f"### {name} ({of}{rows})\n\n" + "\n".join(lines) + "\n")
    return "## Evaluation\n\n" + "\n".join(parts) if parts else ""


def _between(one: Mapping[str, Any] | None) -> str:
    if not one or one.get("value") is None:
        return ""
    if one.get("low") is None or one.get("high") is None:
        return f"{one['value']:.4g}"
    return f"{one['value']:.4g} [{one['low']:.3g}, {one['high']:.3g}]"


def _answers(run: Finished) -> str:
    path = run.folder.path / "answers.json"
    pairs = json.loads(path.read_text("utf-8")) if path.is_file() else []
    lines = ["## Answers before and after\n"]
    for pair in pairs[:ANSWERS]:
        for name, text in (
            ("question", pair["question"]),
            ("before", pair["before"]["text"]),
            ("after", pair["after"]["text"]),
        ):
            lines.append(f"- **{name}**: {_one_line(text)}")
        lines.append("")
    return "\n".join(lines) if pairs else ""


def _one_line(text: str) -> str:
    plain = re.sub(r"([\\`*_<>\[\]|])", r"\\\1", " ".join(text.split()))
    return plain if len(plain) <= SHOWN else plain[:SHOWN] + "…"


def _proof(folder: Path) -> str:
    path = folder / PROOF
    if not path.is_file():
        return ""
    lines = (folder / "proof.txt").read_text("utf-8").splitlines()
    return "## Proof\n\nCompared with what was trained (`proof.json`):\n\n" + "".join(f"- {line}\n" for line in lines)


def _recipe(run: Finished) -> str:
    text = (run.folder.path / "recipe.yaml").read_text("utf-8").strip()
    fence = "`" * max(3, 1 + max((len(found) for found in re.findall("`+", text)), default=0))
    given = run.folder.read("origin.json").get("overrides") or []
    with_ = f"\nGiven beside it: `{' '.join(map(str, given))}`.\n" if given else ""
    composed = "\nAll of it in one file, whatever it extends: `finetune/recipe.composed.yaml`.\n"
    return f"## Recipe\n\n{fence}yaml\n{text}\n{fence}\n{with_}{composed}"
