"""The model card of a run: what it was made of, by which recipe, on which data, with which result, under which licence.
Says what the run folder says; sends nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from finetune import __version__
from finetune.exporting.finished import Finished
from finetune.exporting.places import PROOF

ANSWERS = 3
"""Sample answers that a card shows."""
SHOWN = 300
"""Characters of one."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
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


@dataclass(frozen=True)
class Sent:
    """What is published. `kind`: adapter, model, merged, gguf, ...; `folder`: where its files lie."""

    run: Finished
    kind: str
    folder: Path
    repo: str
    license: str


def card(sent: Sent) -> str:
    """The text of README.md."""
    run = sent.run
    parts = [
        f"---\n{yaml.safe_dump(_facts(sent), sort_keys=False, allow_unicode=True)}---\n",
        f"# {sent.repo.rpartition('/')[2]}\n",
        f"{_what(sent)} Trained with [finetune](https://pypi.org/project/finetune-recipes/) {__version__} from one "
        "recipe, which is below and in `finetune/`.\n",
        _use(sent),
        _data(run),
        _results(run),
        _answers(run),
        _proof(sent.folder),
        _recipe(run),
        f"## Licence\n\n{sent.license}. The base model and the data have licences of their own.\n",
    ]
    return "\n".join(part for part in parts if part)


def base_name(run: Finished) -> str:
    """The hub id of the base model, or a local folder's last name: nobody else has the path."""
    name = str(run.keys.get("base_model"))
    return name if is_hub_id(name) else Path(name).name


def is_hub_id(name: str) -> bool:
    return bool(HUB_ID.fullmatch(name)) and not Path(name).exists()


def _facts(sent: Sent) -> dict[str, Any]:
    run = sent.run
    library = {"adapter": "peft", "gguf": "gguf", "ollama": "gguf"}.get(sent.kind, "transformers")
    facts: dict[str, Any] = {"license": sent.license, "library_name": library}
    if is_hub_id(str(run.keys.get("base_model"))):
        facts["base_model"] = run.keys["base_model"]
        relation = {"adapter": "adapter", "gguf": "quantized", "ollama": "quantized"}.get(sent.kind, "finetune")
        facts["base_model_relation"] = relation
    datasets = [entry["path"] for entry in _entries(run) if is_hub_id(str(entry["path"]))]
    if datasets:
        facts["datasets"] = list(dict.fromkeys(datasets))
    facts["pipeline_tag"] = "text-classification" if run.scores else "text-generation"
    facts["tags"] = ["finetune", *([str(run.keys["adapter"])] if run.keys.get("adapter") else [])]
    return facts


def _entries(run: Finished) -> Sequence[Mapping[str, Any]]:
    return run.keys.get("datasets") or []


def _what(sent: Sent) -> str:
    method = str(sent.run.keys.get("adapter") or "all weights")
    revision = sent.run.keys.get("revision_of_model")
    at = f" at revision `{revision}`" if revision else ""
    says = {"adapter": "An adapter for", "gguf": "A GGUF file made from", "ollama": "GGUF file and Modelfile made from"}
    return f"{says.get(sent.kind, 'A model fine-tuned from')} `{base_name(sent.run)}`{at} ({method})."


def _use(sent: Sent) -> str:
    if sent.kind in ("gguf", "ollama"):
        file = next((path.name for path in sorted(sent.folder.glob("*.gguf"))), "MODEL.gguf")
        line = f"llama-server -hf {sent.repo}" if sent.kind == "gguf" else "ollama create NAME -f Modelfile"
        return f"## Use\n\n```sh\n{line}   # {file}\n```\n"
    kind = "AutoPeftModelForCausalLM" if sent.kind == "adapter" else "AutoModelForCausalLM"
    package = "peft" if sent.kind == "adapter" else "transformers"
    if sent.run.scores:
        return ""
    return (
        f"## Use\n\n```python\nfrom {package} import {kind}\nfrom transformers import AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{sent.repo}")\nmodel = {kind}.from_pretrained("{sent.repo}")\n'
        'messages = [{"role": "user", "content": "Hello"}]\n'
        'ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**ids)[0]))\n```\n\n"
        "Stop tokens and sampling are in `generation_config.json`, the template is the tokenizer's.\n"
    )


def _data(run: Finished) -> str:
    counted = run.folder.read("data.json") if (run.folder.path / "data.json").is_file() else {}
    lines = ["## Data\n"]
    for entry in _entries(run):
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
    return f"## Recipe\n\n{fence}yaml\n{text}\n{fence}\n"
