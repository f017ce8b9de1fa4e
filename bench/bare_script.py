"""The library calls of a planned run in a plain script: no recipe, no runner. python bench/bare_script.py PLAN.json OUT

Rows come tokenized from `rows.json` beside the plan. Prints one JSON line: seconds a step and peak memory."""

import json
import resource
import sys
import time
from pathlib import Path

plan = json.loads(Path(sys.argv[1]).read_text())
rows = json.loads(Path(sys.argv[1]).with_name("rows.json").read_text())
arguments = {call["target"]: call["arguments"] for calls in plan["stages"].values() for call in calls}

from datasets import Dataset  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

tokenizer = AutoTokenizer.from_pretrained(**arguments["transformers.AutoTokenizer.from_pretrained"])
model, _ = AutoModelForCausalLM.from_pretrained(**arguments["transformers.AutoModelForCausalLM.from_pretrained"])
set_seed(**arguments["transformers.set_seed"])
model = get_peft_model(model, LoraConfig(**arguments["peft.LoraConfig"]), autocast_adapter_dtype=True)
config = SFTConfig(**(arguments["trl.SFTConfig"] | {"output_dir": sys.argv[2]}))
trainer = SFTTrainer(model=model, args=config, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer)
started = time.monotonic()
trainer.train()
seconds = (time.monotonic() - started) / trainer.state.global_step
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print("RESULT " + json.dumps({"seconds_per_step": seconds, "peak_gib": peak}))
