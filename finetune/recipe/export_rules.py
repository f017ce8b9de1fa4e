"""What rules out export_to. Looks at written values only; knows no library."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.adapter_rules import VIRTUAL

Values = Mapping[str, Any]
Finding = tuple[str, str]


def exporting(values: Values) -> Iterator[Finding]:
    wanted = values.get("export_to")
    if not isinstance(wanted, list) or not wanted:
        return
    repeated = [form for number, form in enumerate(wanted) if form in wanted[:number]]
    if repeated:
        yield "export_to", f"`export_to` names {repeated[0]} twice. Keep one"
    adapter, peft = values.get("adapter"), values.get("peft")
    if adapter in VIRTUAL:
        message = f"`adapter: {adapter}` learns inputs and no weights, so there is nothing to merge and export"
        yield "export_to", f"{message}: remove the line, or choose lora or ia3"
    if isinstance(peft, Mapping) and peft.get("loftq_config"):
        message = "`peft.loftq_config` makes an adapter that fits the 4-bit weights alone, and 16-bit ones are exported"
        yield "export_to", f"{message}: remove one of the two"
    if values.get("reward_model") is True and any(form != "safetensors" for form in wanted):
        form = next(form for form in wanted if form != "safetensors")
        yield (
            "export_to",
            f"`reward_model: true` makes a model that scores, which {form} has no use for: write [safetensors]",
        )
