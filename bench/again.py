"""How soon a second run of a recipe has its rows: from the cache to the datasets that the trainer is given, beyond the
imports that every run makes.

Run from the repository root: python bench/again.py RECIPE"""

import sys
import time
from pathlib import Path

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.machine import probe
from finetune.recipe.load import load_recipe
from finetune.resolve import resolve


def main() -> None:
    import datasets  # noqa: F401 - one of the imports that are not counted

    plan = resolve(load_recipe(Path(sys.argv[1]), []).recipe, probe())
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    for number in range(4):
        began, used = time.perf_counter(), time.process_time()
        prepared = stages.prepare(plan, stages.open_sources(plan), tokenizer)
        found = time.perf_counter() - began
        data = stages.format_rows(plan, prepared)
        whole, cpu = time.perf_counter() - began, time.process_time() - used
        rows = f"{len(data.train):,} rows ready {whole:.2f} s ({cpu:.2f} s of CPU)"
        print(f"run {number + 1}: found {found:.2f} s, {rows}")


if __name__ == "__main__":
    main()
