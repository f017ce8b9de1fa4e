"""What was trained is written to its place, whole or not at all. Every argument comes from the Plan."""

from typing import Any

from finetune import ranks
from finetune.plan import Plan, perform


def save(plan: Plan, model: Any, tokenizer: Any, generation_config: Any) -> None:
    owners = {
        "PeftModel": model,
        "PreTrainedModel": model,
        "PreTrainedTokenizerBase": tokenizer,
        "GenerationConfig": generation_config,
    }
    whole = {}
    if any("state_dict" in call.runtime for call in plan.stage("save")):
        from finetune.kernels.sharding import whole_state

        whole = {"state_dict": whole_state(model)}
    if ranks.this_rank().first:
        for call in plan.stage("save"):
            if ".exporting." in call.target:
                continue  # before training, and when the run is finished
            if "self" in call.runtime:
                given = {name: whole[name] for name in call.runtime if name != "self"}
                perform(call, self=owners[call.target.split(".")[-2]], **given)
            else:
                perform(call)
    ranks.wait()
