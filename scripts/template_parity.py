"""Are prompts the same token ids everywhere? For each family of templates a tiny model is trained, merged and exported,
and questions are put through training, chat, serve, the merged folder, the GGUF file (llama.cpp) and Ollama's Modelfile
(Go).

    python scripts/template_parity.py [--write]

Needs llama-cpp-python. With `go` on the path, Go's own text/template renders Ollama's template, else finetune's reader
of it. --write puts the table into docs/export.md. Takes some minutes."""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402

from finetune import stages  # noqa: E402
from finetune.answering.settings import Settings  # noqa: E402
from finetune.backends.loaded import load_tokenizer as load_base_tokenizer  # noqa: E402
from finetune.backends.loaded import tokenizer_part  # noqa: E402
from finetune.cli import main  # noqa: E402
from finetune.exporting.finished import finished_run  # noqa: E402
from finetune.exporting.gguf_reading import LlamaReader, gguf_facts  # noqa: E402
from finetune.exporting.go_template import render_go  # noqa: E402
from finetune.exporting.merging import load_tokenizer  # noqa: E402
from finetune.exporting.ollama import modelfile  # noqa: E402
from finetune.exporting.readers import TransformersReader, stop_ids_of  # noqa: E402
from finetune.formats.meaning import Message  # noqa: E402
from finetune.generation import Prompt, prompt_ids  # noqa: E402
from finetune.machine import probe  # noqa: E402
from finetune.recipe.load import load_recipe  # noqa: E402
from finetune.resolve import resolve  # noqa: E402
from finetune.serving.engine import Engine  # noqa: E402
from finetune.serving.reading import chat_asked  # noqa: E402
from finetune.trained import opened  # noqa: E402
from tests import tiny  # noqa: E402

QUESTIONS = (
    "how are you",
    "Add 1234567 and 89.01, please!",
    "naïve café – 東京 🙂 Привет",
    "def f(x):\n\treturn  x**2\n\n\nWhat's that?",
    "I'M, you'LL, don't; (a)[b]{c} <d> \"e\" 100%",
    "{{ .System }} and {% if x %}",
)
GO = """package main
import ("encoding/json"; "os"; "text/template")
type M struct { Role, Content string }
type D struct { System, Template, Prompt string; Messages []M }
func main() {
  var d D
  if err := json.NewDecoder(os.Stdin).Decode(&d); err != nil { panic(err) }
  if err := template.Must(template.New("t").Parse(d.Template)).Execute(os.Stdout, d); err != nil { panic(err) }
}
"""
BEGIN, END = "<!-- template_parity: begin -->", "<!-- template_parity: end -->"
STEPS = {"quickstart": 60}


@dataclass(frozen=True)
class Row:
    """What one family came to. Each of `ids`: prompts with equal token ids; `stops`: where the turn's end stops."""

    family: str
    prompts: int
    ids: dict[str, int]
    stops: dict[str, bool]
    ended: dict[str, int]


def bases(folder: Path) -> dict[str, Path]:
    found = {family: tiny.save_model(folder / family, family) for family in tiny.FAMILIES}
    for family in (*tiny.MORE_FAMILIES, *tiny.SENTENCEPIECE):
        found[family] = tiny.save_with(folder / family.replace(", ", "_"), tiny.any_tokenizer(family))
    return found | {"quickstart": ROOT / "recipes" / "quickstart" / "base"}


def trained(family: str, base: Path, folder: Path) -> tuple[Path, Path]:
    """(recipe, run folder) of a short training in which the model learns to stop."""
    rng = random.Random(1)
    rows = [[question, tiny.sentence(rng, 3)] for question in QUESTIONS]
    rows += [[tiny.sentence(rng, 5), tiny.sentence(rng, 3)] for _ in range(40)]
    lines = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in rows]
    data = folder / f"{family}.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    recipe = folder / f"{family}.yaml"
    values = {
        "base_model": str(base),
        "datasets": [{"path": str(data), "type": "chat_template"}],
        "adapter": "lora",
        "learning_rate": 1e-2,
        "max_steps": STEPS.get(family, 80),
        "sequence_len": 256,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "sample_prompts": list(QUESTIONS[:2]),
        "generation_max_new_tokens": 48,
        "output_dir": str(folder / f"run-{family}"),
    }
    recipe.write_text(yaml.safe_dump(values))
    assert main([str(recipe)]) == 0, family
    return recipe, folder / f"run-{family}"


def training_ids(recipe: Path) -> list[tuple[list[int], list[int]]]:
    """(token ids, labels) of the rows as the trainer gets them."""
    plan = resolve(load_recipe(recipe, []).recipe, probe())
    tokenizer, _ = load_base_tokenizer(tokenizer_part(plan.stage("load")))
    prepared = stages.prepare(plan, stages.open_sources(plan), tokenizer)
    data = prepared.dataset("train", None)
    return [(list(row["input_ids"]), list(row["labels"])) for row in data.select(range(len(QUESTIONS)))]


def go_text(template: str, system: str, messages: list[dict[str, str]]) -> str:
    """By Go's text/template where there is a `go`, and by finetune's reader, which must agree with it."""
    ours = render_go(template, system, messages)
    if shutil.which("go") is None:
        return ours
    with tempfile.TemporaryDirectory() as folder:
        if not GO_PROGRAM:
            source = Path(tempfile.mkdtemp()) / "main.go"
            source.write_text(GO)
            GO_PROGRAM.append(source.with_suffix(""))
            subprocess.run(["go", "build", "-o", GO_PROGRAM[0], source], check=True, cwd=folder)
        turns = [{"Role": turn["role"], "Content": turn["content"]} for turn in messages]
        given = json.dumps({"System": system, "Template": template, "Messages": turns})
        done = subprocess.run([GO_PROGRAM[0]], input=given, capture_output=True, text=True, check=True)
    assert done.stdout == ours, (template, done.stdout, ours)
    return done.stdout


GO_PROGRAM: list[Path] = []


def look(family: str, base: Path, folder: Path) -> Row:
    recipe, path = trained(family, base, folder)
    for command in (["merge", str(path)], ["export", str(path), "--to", "ollama"]):
        assert main([*command, "--prompts", "6"]) == 0, (family, command)
    run, tokenizer = finished_run(path), load_tokenizer(path / "adapter")
    file = next((path / "ollama").glob("*.gguf"))
    llama = LlamaReader(file, 512)
    begins = bool(gguf_facts(file).get("tokenizer.ggml.add_bos_token"))
    made = modelfile(run, tokenizer, begins, file.name)
    merged = TransformersReader(_Nothing(), load_tokenizer(path / "merged"), (), official=True)
    ids = dict.fromkeys(("training", "serve", "merged", "GGUF", "Ollama"), 0)
    rows = training_ids(recipe)
    opened_run = opened(path)
    engine = Engine(opened_run, 1, 1)
    prompts = [Prompt(question, (Message("user", question),)) for question in QUESTIONS]
    for prompt, (row, _) in zip(prompts, rows, strict=True):
        chat = prompt_ids(prompt, tokenizer)
        ids["training"] += row[: len(chat)] == chat
        body = {"model": "m", "messages": [{"role": "user", "content": prompt.question}]}
        served = chat_asked(body, ("m",), run.style, Settings(48))
        ids["serve"] += engine.ids_of(served.prompts[0]) == chat
        ids["merged"] += merged.ids(prompt) == chat
        ids["GGUF"] += llama.ids(prompt) == chat
        ids["Ollama"] += (
            llama.ids_of(go_text(made.template, "", [{"role": "user", "content": prompt.question}])) == chat
        )
    ends = [token for token in run.stop_ids if any(token in labels for _, labels in rows)]
    stops = {
        "training": bool(ends),
        "chat and serve": set(ends) <= set(opened_run.stop_ids),
        "merged": set(ends) <= set(stop_ids_of(path / "merged")),
        "GGUF": all(llama.ends(token) for token in ends),
        "Ollama": all(f"PARAMETER stop {json.dumps(tokenizer.convert_ids_to_tokens(t))}" in made.text for t in ends),
    }
    llama.close()
    return Row(family, len(prompts), ids, stops, ended(path))


class _Nothing:
    score = None


def ended(path: Path) -> dict[str, int]:
    """Answers that ended by themselves, of the proofs' six."""
    proofs = {name: json.loads((path / name / "proof.json").read_text())["figures"] for name in ("merged", "ollama")}
    return {
        "chat": proofs["merged"]["reference_stopped"],
        "merged": proofs["merged"]["artefact_stopped"],
        "GGUF": proofs["ollama"]["artefact_stopped"],
    }


def table(rows: list[Row]) -> str:
    go = "Go's text/template" if shutil.which("go") else "finetune's reader of Go's templates"
    lines = [
        f"Prompts whose token ids equal those of `chat`, of {len(QUESTIONS)} (Ollama's template rendered by {go});",
        "where the trained end of a turn stops the answer (training, chat and serve, merged, GGUF, Ollama); answers of",
        "the trained tiny model that ended, of 6:",
        "",
        "| family | training rows | serve | merged | GGUF | Ollama | stops in | ended: chat / merged / GGUF |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        counts = " | ".join(f"{count}/{row.prompts}" for count in row.ids.values())
        stops = "all" if all(row.stops.values()) else ", ".join(name for name, there in row.stops.items() if there)
        lines.append(f"| {row.family} | {counts} | {stops} | {' / '.join(map(str, row.ended.values()))} |")
    return "\n".join(lines)


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*")
    parser.add_argument("--write", action="store_true")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        made = bases(Path(name))
        wanted = {family: made[family] for family in parsed.families or made}
        rows = [look(family, base, Path(name)) for family, base in wanted.items()]
    text = table(rows)
    print(text)
    if parsed.write:
        page = ROOT / "docs" / "export.md"
        before, _, rest = page.read_text("utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")
    return 0 if all(set(row.ids.values()) == {row.prompts} and all(row.stops.values()) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(run())
