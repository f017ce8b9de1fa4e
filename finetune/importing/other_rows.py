"""Scripts that train on images or sound, or models that answer with no text: no recipe can be theirs."""

import ast
import re
from collections.abc import Sequence

from finetune.errors import Fault, RecipeError
from finetune.importing.folding import Function
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


SEES = re.compile(
    r"Vision2Seq|VisionText2Text|VisionTextDual|Idefics|Llava|PaliGemma|Mllama|Florence|Blip|SmolVLM|InternVL"
    r"|VL(Moe)?ForConditionalGeneration|_VL_"
)
HEARS = re.compile(r"Audio\w*For|Speech\w*|Whisper|Wav2Vec|ForCTC|TextToWaveform|TextToSpectrogram")
ENCODES = re.compile(r"(T5|Bart|Pegasus|M2M100|NllbMoe|Marian|ProphetNet|LED)ForConditionalGeneration$")
CLASSIFIES = re.compile(r"\w+For(Sequence|MultiLabel)Classification$")
CODECS = frozenset(
    "snac xcodec2 xcodec encodec sparktts outetts neucodec moshi dac f5_tts whisper phonemizer librosa".split()
)
"""Libraries that turn sound into numbers."""
PIXELS = ("pixel_values", "image_grid_thw", "input_features", "images", "audios", "audio_values")
"""What a script's own collator puts together where rows hold more than text."""


def of_a_class(name: str) -> str:
    """What a model of this class does that no recipe can; nothing for the rest."""
    if OTHER.get(name):
        return OTHER[name]
    for pattern, does in ((SEES, "reads images"), (HEARS, "reads or writes sound"), (ENCODES, "has an encoder")):
        if pattern.search(name):
            return does
    return ""


def _sound(calls: Sequence[Object]) -> Object | None:
    """Rows of sound: a column that is cast to Audio, or a codec's library."""
    for call in calls:
        first = call.call.split(".")[0].lower()
        codec = first in CODECS or first.startswith(("audio", "torchaudio"))
        if call.call in ("datasets.Audio", "datasets.features.Audio") or (codec and "." in call.call):
            return call
    return None


def _pixels(trainer: Object | None) -> bool:
    made = trainer.get("data_collator") if trainer is not None else None
    if not isinstance(made, Function):
        return False
    words = {part.value for part in ast.walk(made.node) if isinstance(part, ast.Constant)}
    return any(word in words for word in PIXELS)


def refuse_other_rows(calls: Sequence[Object]) -> None:
    """RecipeError where another recipe than the script's would be made."""
    sound = _sound(calls)
    if sound is not None:
        raise RecipeError(
            Fault("this script reads or writes sound, which no recipe can; nothing was written", sound.where)
        )
    for call in calls:
        parts = call.call.split(".")
        loads = call.name == "from_pretrained" or call.name.endswith("Trainer")
        other = next((found for part in parts if loads and (found := of_a_class(part))), "")
        chosen = call.get("auto_model")
        if isinstance(chosen, Symbol):
            other = next((OTHER[part] for part in chosen.text.split(".") if OTHER.get(part)), "answers with no text")
        if call.name in COLLATORS or (call.name.endswith("Trainer") and _pixels(call)):
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
    models = [call for call in loads if re.search(r"\w+For[A-Z]\w+$", call.rsplit(".", 1)[0])]
    return bool(models) and all(CLASSIFIES.search(call.rsplit(".", 1)[0]) for call in models)
