"""What a script has done to a source's rows until now. Decides how a step is told that cannot be read."""

from dataclasses import dataclass, field

from finetune.importing.draft import IDLE, UNREAD, Draft, Line
from finetune.importing.formatting import Form
from finetune.importing.found import Object
from finetune.importing.script_data import Read

WHERE = "an entry's `split`: train[:1000], or max_rows"


@dataclass
class State:
    """What has been done to an entry's rows until now."""

    entry: dict[str, Line]
    read: Read
    draft: Draft
    trained: bool = True
    """Whether these are the rows that are trained on; else those that are measured."""
    form: Form | None = None
    mixed: bool = False
    held: bool = False
    """Validation rows have been taken out."""
    mapped: bool = False
    renames: dict[str, str] = field(default_factory=dict)

    def idle(self, step: Object, message: str) -> None:
        self.draft.say(IDLE, step.line, f"{step.name}(…)", message)
        for setting in step.arguments.values():
            self.draft.tell(IDLE, setting, message)

    def unread(self, step: Object, message: str, advice: str = WHERE) -> None:
        shown = f"{step.name}(…)" if step.name != "[]" else "[…]"
        self.draft.say(UNREAD, step.line, shown, message, advice)
        for setting in step.arguments.values():
            self.draft.accounted.add((setting.name, setting.where))
