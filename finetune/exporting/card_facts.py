"""The head of a model card, as the hub reads it: licence, base model, data, results. Knows no prose."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.exporting.finished import Finished
from finetune.exporting.public import HUB_ID, Base

LICENSES = frozenset(
    "afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 "
    "bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 "
    "etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 h-research "
    "intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c mit "
    "mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openrail openrail++ osl-3.0 pddl postgresql unlicense unknown "
    "wtfpl zlib other".split()
)
"""The names that the hub knows; any other stands under license_name."""
METRICS = {"rouge1": "rouge", "rouge2": "rouge", "rougeL": "rouge", "token_f1": "f1"}
"""A figure -> what the hub calls its kind, where that is another name."""


@dataclass(frozen=True)
class Sent:
    """What is published. `kind`: adapter, model, merged, gguf, ...; `folder`: where its files lie; `base`: what the hub
    calls the base model, if it has it."""

    run: Finished
    kind: str
    folder: Path
    repo: str
    license: str
    base: Base | None


def is_hub_id(name: str) -> bool:
    return bool(HUB_ID.fullmatch(name)) and not Path(name).exists()


def entries(run: Finished) -> Sequence[Mapping[str, Any]]:
    return run.keys.get("datasets") or []


def head(sent: Sent) -> str:
    """YAML, as huggingface_hub's own ModelCardData writes it."""
    from huggingface_hub import ModelCardData

    facts = _facts(sent)
    if results := _results(sent):
        facts |= {"model_name": sent.repo.rpartition("/")[2], "eval_results": results}
    return str(ModelCardData(**facts).to_yaml())


def _facts(sent: Sent) -> dict[str, Any]:
    run = sent.run
    library = {"adapter": "peft", "gguf": "gguf", "ollama": "gguf"}.get(sent.kind, "transformers")
    facts: dict[str, Any] = {**_license(sent.license), "library_name": library}
    if sent.base is not None:
        facts["base_model"] = sent.base.name
        relation = {"adapter": "adapter", "gguf": "quantized", "ollama": "quantized"}.get(sent.kind, "finetune")
        facts["base_model_relation"] = relation
    datasets = [entry["path"] for entry in entries(run) if is_hub_id(str(entry["path"]))]
    if datasets:
        facts["datasets"] = list(dict.fromkeys(datasets))
    facts["pipeline_tag"] = "text-classification" if run.scores else "text-generation"
    facts["tags"] = ["finetune", *(str(run.keys[key]) for key in ("adapter", "rl") if run.keys.get(key))]
    return facts


def _license(given: str) -> dict[str, str]:
    if given.lower() in LICENSES:
        return {"license": given.lower()}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.-]+", "-", given.lower()).strip("-") or "unnamed"}


def evaluations(run: Finished) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(name, what it found) of each evaluation of the run; those that cannot be read are passed over."""
    for path in sorted((run.folder.path / "evaluations").glob("*.json")):
        try:
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and isinstance(found.get("figures"), dict):
            yield path.stem, found


def _results(sent: Sent) -> list[Any]:
    from huggingface_hub import EvalResult

    made = []
    for name, found in evaluations(sent.run):
        data = str(found.get("data") or name)
        kind = data if is_hub_id(data) else "local"
        for figure, both in found["figures"].items():
            value = (both.get("tuned") or {}).get("value")
            if isinstance(value, int | float) and math.isfinite(value):
                short = Path(data).name
                kinds = ("text-generation", kind, short, METRICS.get(figure, figure), round(value, 6))
                made.append(EvalResult(*kinds, metric_name=figure))
    return made
