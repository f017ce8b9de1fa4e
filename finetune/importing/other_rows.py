"""Scripts that train on images or sound, or models that answer with no text: no recipe can be theirs."""

from collections.abc import Sequence

from finetune.errors import Fault, RecipeError
from finetune.importing.found import Object, Symbol

COLLATORS = (
    "UnslothVisionDataCollator",
    "DataCollatorForVisionLanguageModeling",
    "DataCollatorSpeechSeq2SeqWithPadding",
)
OTHER = {
    "SentenceTransformerTrainer": "trains embeddings",
    "FastSentenceTransformer": "trains embeddings",
    "AutoModelForSpeechSeq2Seq": "reads sound",
    "WhisperForConditionalGeneration": "reads sound",
    "CsmForConditionalGeneration": "writes sound",
    "AutoModelForTokenClassification": "labels words",
    "AutoModelForMaskedLM": "fills gaps",
    "AutoModelForSeq2SeqLM": "has an encoder",
    "AutoModelForQuestionAnswering": "marks answers in a text",
}


def refuse_other_rows(calls: Sequence[Object]) -> None:
    """RecipeError where another recipe than the script's would be made."""
    for call in calls:
        parts = call.call.split(".")
        other = next((OTHER[part] for part in parts if OTHER.get(part)), "")
        chosen = call.get("auto_model")
        if isinstance(chosen, Symbol):
            other = next((OTHER[part] for part in chosen.text.split(".") if OTHER.get(part)), "answers with no text")
        if call.name in COLLATORS:
            other = "reads images or sound"
        elif (
            other == "" and call.name.endswith("Trainer") and _scores(calls) and call.name in ("Trainer", "SFTTrainer")
        ):
            other = "sorts texts into classes"
        if other:
            message = f"this script {other}, which no recipe can; nothing was written"
            raise RecipeError(Fault(message, call.where))


def _scores(calls: Sequence[Object]) -> bool:
    loads = [call.call for call in calls if call.name == "from_pretrained"]
    models = [call for call in loads if "AutoModelFor" in call]
    return bool(models) and all("SequenceClassification" in call for call in models)
