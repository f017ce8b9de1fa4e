"""One recipe's proof, from its file to the report: what is known of its model, its rows, the runs, and the checks in
their order. Owns the order; what each check compares is in checks.py."""

import functools
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from finetune.advice import advice
from finetune.backends import BACKENDS
from finetune.errors import FinetuneError, UsageError
from finetune.machine import Machine, assumed, probe
from finetune.noise import quiet_libraries, quiet_starts
from finetune.proving import checks
from finetune.proving.base import Known, known_model, make_base
from finetune.proving.case import Case
from finetune.proving.lines import Report, guarded
from finetune.proving.replaced import Replacement, Setting
from finetune.proving.rows import Taken, real_names, taken_rows
from finetune.proving.runs import Bench
from finetune.proving.values import plotted, rate_of
from finetune.recipe.load import Checked, load_recipe
from finetune.recipe.recipe import Recipe
from finetune.recipe.rewards import parsed
from finetune.resolve import resolve

BUNDLED = "tokenizer_default"


def proved(path: Path, overrides: Sequence[str], keep: Path | None) -> Report:
    """The report on one recipe. `keep`: where the proof's folder stays, else it is removed."""
    started = time.monotonic()
    report = Report(str(path))
    with ExitStack() as ends:
        folder = _folder(ends, keep)
        report.folder = str(folder) if keep else ""
        machine = Machine(packages=probe().packages, cores=1, reasons={"gpu": "a proof uses none"})
        bench = Bench(folder, machine)
        try:
            checked = load_recipe(path, overrides)
            resolve(checked.recipe, assumed())
            with bench.quiet():
                quiet_starts()
                BACKENDS["transformers"].prepare_process()
                quiet_libraries(bars=False)
            report.add("recipe", True, "valid")
            for fault in checked.heard([*checked.notes, *advice(checked)]):
                if fault.severity == "warning":
                    report.warn("recipe", f"{fault.message} [{fault.code}]")
            _prove(report, checked, bench)
        except FinetuneError as error:
            # Something that leaves nothing to prove.
            report.exit_code = report.exit_code or error.exit_code
            report.add("recipe" if not report.lines else "proof", False, " ".join(map(str, error.faults)))
    report.seconds = time.monotonic() - started
    return report


def _folder(ends: ExitStack, keep: Path | None) -> Path:
    if keep is not None:
        shutil.rmtree(keep, ignore_errors=True)
        try:
            keep.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"--keep {keep}: {error.strerror}") from None
        return keep.absolute()
    folder = Path(tempfile.mkdtemp(prefix="finetune-proof-"))
    ends.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _prove(report: Report, checked: Checked, bench: Bench) -> None:
    recipe = checked.recipe
    recipe = _rewards_made_up(report, recipe, bench.folder)
    known = known_model(recipe.base_model, recipe.revision_of_model, recipe.tokenizer_config)
    with bench.quiet():
        taken = taken_rows(recipe, bench.machine, bench.folder)
        tokenizer, weights = _make_base(recipe, known, taken, bench.folder / "base")
    tiny = _config(bench.folder / "base")
    report.facts |= {
        "architecture": f"{tiny['model_type']}, {tiny['num_hidden_layers']} layers, {weights:,} random weights; from "
        f"{known.source}",
        "tokenizer": tokenizer,
        "data": "; ".join(one.said for one in taken),
    }
    setting = Setting(tiny["num_hidden_layers"], rate_of(recipe), bench.machine.packages)
    plot = plotted(recipe, known, taken, bench.folder / "base", setting)
    report.replaced += plot.told

    def reword(text: str) -> str:
        return real_names(taken, text).replace(str(bench.folder / "base"), recipe.base_model)

    case = Case(report, bench, recipe, plot, taken, reword)
    for check in checks.ORDER:
        crash = guarded(report, check.__name__.replace("_", " "), reword, functools.partial(check, case))
        with bench.log.open("a", encoding="utf-8") as log:
            log.write(crash)
        if case.over:
            break


def _make_base(recipe: Recipe, known: Known, taken: Sequence[Taken], folder: Path) -> tuple[str, int]:
    names = [recipe.chat_template, *(entry.chat_template or BUNDLED for entry in recipe.datasets)]
    templates = [name.removeprefix("tokenizer_default_fallback_") for name in dict.fromkeys(names) if name != BUNDLED]
    texts = (text for one in taken for text in one.texts)
    return make_base(known, templates, texts, folder)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(folder)).get_text_config()
    return {"model_type": config.model_type, "num_hidden_layers": config.num_hidden_layers}


def _rewards_made_up(report: Report, recipe: Recipe, folder: Path) -> Recipe:
    """A reward model is a model of its own, so a function stands in for it. Beside functions there is one more: they
    often reward all answers of a tiny model alike, and then nothing would be learned."""
    if recipe.trl is None or not recipe.trl.reward_funcs:
        return recipe
    (folder / REWARD).write_text(_REWARD, "utf-8")
    funcs, made_up = recipe.trl.reward_funcs, f"{REWARD}:even"
    models = [text for text in funcs if isinstance(parsed(text), str)]
    report.replaced += [Replacement("trl.reward_funcs", text, made_up, "its weights are not used") for text in models]
    stands = [made_up if text in models else text for text in funcs]
    changes: dict[str, Any] = {"reward_funcs": stands}
    if not models:
        why = "so that there is something to learn where the recipe's own reward all answers of a tiny model alike"
        report.replaced.append(Replacement("trl.reward_funcs", funcs, [*funcs, made_up], why))
        weights = recipe.trl.reward_weights
        changes = {"reward_funcs": [*stands, made_up], "reward_weights": [*weights, 1.0] if weights else None}
    return recipe.model_copy(update={"trl": recipe.trl.model_copy(update=changes)})


REWARD = "rewards_made_up.py"
_REWARD = '''"""A reward that answers of any model differ in: the share of even letters."""


def even(completions, **columns):
    texts = [one if isinstance(one, str) else one[-1]["content"] for one in completions]
    return [sum(ord(letter) % 2 == 0 for letter in text) / (len(text) + 1) for text in texts]
'''
