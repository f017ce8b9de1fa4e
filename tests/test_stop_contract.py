"""Laws 7 and 8: exactly the answers and their end tokens are learned, and what was prepared reaches the trainer."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from tokenizers import AddedToken

from finetune.data.packing import pack_documents
from finetune.errors import DataError, ModelError, RecipeError, TrainingError
from finetune.formats.meaning import Conversation, Message, Row, Segments
from finetune.rendering.examples import IGNORED, Tokenized, tokenize_rows
from finetune.rendering.templates import set_template
from finetune.rendering.turn_end import find_turn_end
from tests import tiny

ENDS = {"chatml": "<|im_end|>", "phi": "<|end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>"}
TALK = Conversation(
    (
        Message("user", "Hello"),
        Message("assistant", "Hi, how are you?"),
        Message("user", "Fine"),
        Message("assistant", "Good."),
    )
)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    return {family: tiny.tokenizer_of(family) for family in tiny.FAMILIES}


def tokenize(tokenizer: Any, *meanings: Any, **settings: Any) -> Tokenized:
    rows = [Row("d", number, meaning) for number, meaning in enumerate(meanings, 1)]
    lengths = {"sequence_len": 512, "excess_length_strategy": "drop", "max_dropped_share": 1.0} | {
        key: settings.pop(key) for key in ("sequence_len", "excess_length_strategy") if key in settings
    }
    return tokenize_rows(rows=rows, tokenizer=tokenizer, lengths=lengths, labels=[settings])


def learned(tokenizer: Any, tokenized: Tokenized, row: int = 0) -> str:
    return str(tokenizer.decode([label for label in tokenized.examples[row].labels if label != IGNORED]))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_only_the_answers_and_their_end_tokens_are_learned(family: str, tokenizers: Any) -> None:
    tokenizer, end = tokenizers[family], ENDS[family]
    done = tokenize(tokenizer, TALK)
    assert learned(tokenizer, done) == f"Hi, how are you?{end}Good.{end}"
    assert tokenizer.convert_tokens_to_ids(end) in done.stop_ids
    assert tokenizer.eos_token_id in done.stop_ids


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_an_empty_answer_still_teaches_to_stop(family: str, tokenizers: Any) -> None:
    done = tokenize(tokenizers[family], Conversation((Message("user", "x"), Message("assistant", ""))))
    assert learned(tokenizers[family], done) == ENDS[family]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_there_is_at_most_one_begin_token(family: str, tokenizers: Any) -> None:
    ids = tokenize(tokenizers[family], TALK).examples[0].input_ids
    begin = tokenizers[family].bos_token_id
    assert begin is None or (ids[0] == begin and begin not in ids[1:])


def test_data_that_brings_a_begin_token_of_its_own_is_refused(tokenizers: Any) -> None:
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}<|eot_id|>{% endfor %}"
    tokenizer = tiny.tokenizer_of("llama3")
    tokenizer.chat_template = template
    talk = Conversation((Message("user", "<|begin_of_text|>x"), Message("assistant", "y")))
    with pytest.raises(DataError, match="two begin-of-sequence"):
        tokenize(tokenizer, talk)


def test_padding_that_is_the_end_token_costs_no_label(tokenizers: Any) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.pad_token = "<|im_end|>"
    assert learned(tokenizer, tokenize(tokenizer, TALK)).count("<|im_end|>") == 2


def test_train_on_inputs_learns_every_turn_and_every_token_of_a_text(tokenizers: Any) -> None:
    tokenizer = tokenizers["chatml"]
    end = ENDS["chatml"]
    done = tokenize(tokenizer, TALK, train_on_inputs=True)
    assert learned(tokenizer, done) == f"Hello{end}Hi, how are you?{end}Fine{end}Good.{end}"
    whole = tokenize(tokenizer, Segments((("Question: x\n", False), ("answer", True))), train_on_inputs=True).examples[
        0
    ]
    assert whole.labels == whole.input_ids


def test_instruction_rows_end_with_the_end_of_sequence_token(tokenizers: Any) -> None:
    for family in ("chatml", "llama3"):
        tokenizer = tokenizers[family]
        done = tokenize(tokenizer, Segments((("Question: x\n", False), ("answer", True))))
        assert learned(tokenizer, done) == "answer" + tokenizer.eos_token
        assert (done.examples[0].input_ids[0] == tokenizer.bos_token_id) == (tokenizer.bos_token is not None)


words = some.text(alphabet=some.characters(codec="utf-8"), min_size=0, max_size=30).filter(lambda text: "<" not in text)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.lists(some.tuples(words, words), min_size=1, max_size=4))
def test_labels_cover_exactly_the_answers_on_any_text(tokenizers: Any, turns: list[tuple[str, str]]) -> None:
    tokenizer = tokenizers["chatml"]
    messages = [Message(role, text) for pair in turns for role, text in zip(("user", "assistant"), pair, strict=True)]
    done = tokenize(tokenizer, Conversation(tuple(messages)), sequence_len=4096)
    said = "".join(f"{answer}<|im_end|>" for _, answer in turns)
    got = learned(tokenizer, done)
    # A token may straddle the line break before the answer; it is learned whole.
    assert got.replace("\n", "") == said.replace("\n", "")
    assert done.counted.trained_tokens == sum(label != IGNORED for label in done.examples[0].labels)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (
            "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: {% endif %}",
            "no special token",
        ),
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['content'] | upper }}<|im_end|>{% endfor %}", "differently from the prompt"),
    ],
)
def test_a_template_that_cannot_teach_to_stop_is_refused(template: str | None, says: str) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.chat_template = template
    with pytest.raises(DataError, match=says):
        find_turn_end(tokenizer)


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    # Drops what stands before </think> in every answer but the last, as reasoning templates do.
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
        "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
        "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = [Message("user", "x"), Message("assistant", "a</think>b"), Message("user", "y"), Message("assistant", "z")]
    with pytest.raises(DataError, match="turn 2"):
        tokenize(tokenizer, Conversation(tuple(turns)))


def test_a_row_cut_before_its_end_token_learns_no_other_end(tokenizers: Any) -> None:
    """Law 7 holds for rows as they are; one that is cut teaches what it still holds, and no end where there is none."""
    tokenizer = tokenizers["chatml"]
    long = Conversation((Message("user", "x"), Message("assistant", "word " * 400)))
    whole, cut = (
        tokenize(tokenizer, long, sequence_len=length, excess_length_strategy="truncate").examples[0]
        for length in (4096, 128)
    )
    assert (cut.input_ids, cut.labels) == (whole.input_ids[:128], whole.labels[:128])
    assert tokenizer.convert_tokens_to_ids(ENDS["chatml"]) not in cut.labels


def test_packing_conserves_every_label(tokenizers: Any) -> None:
    done = tokenize(tokenizers["chatml"], *[TALK] * 9)
    packed = pack_documents(purpose="train", sequence_len=200, lengths=[len(one.labels) for one in done.examples])
    assert sorted(packed.order.tolist()) == list(range(9)), "each once, whole"


def test_an_end_token_that_is_no_special_token_is_found_by_its_name() -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.add_tokens(["[END]"])
    tokenizer.chat_template = str(tokenizer.chat_template).replace("<|im_end|>", "[END]<|im_end|>")
    done = tokenize(tokenizer, TALK, eot_tokens=["[END]"])
    assert learned(tokenizer, done) == "Hi, how are you?[END]Good.[END]"
    with pytest.raises(DataError, match="does not know as one token"):
        tokenize(tokenizer, TALK, eot_tokens=["[STOP]"])
    with pytest.raises(DataError, match="none of eot_tokens"):
        tokenize(tokenizer, TALK, eot_tokens=["<|endoftext|>"])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_conversation_may_open_with_an_answer(family: str, tokenizers: Any) -> None:
    talk = Conversation((Message("assistant", "Hello"), Message("user", "hi"), Message("assistant", "yo")))
    end = ENDS[family]
    assert learned(tokenizers[family], tokenize(tokenizers[family], talk)) == f"Hello{end}yo{end}"


def test_a_marker_that_swallows_the_space_after_it_is_not_learned() -> None:
    tokenizer = tiny.tokenizer_of("phi")
    tokenizer.add_tokens([AddedToken("<|assistant|>", rstrip=True, special=True)])
    done = tokenize(tokenizer, Conversation((Message("user", "x"), Message("assistant", " y"))))
    assert "<|assistant|>" not in learned(tokenizer, done)


@pytest.mark.parametrize("template", ["{{ 1/0 }}", "{{ 'a'.encode('nope') }}", "{{ raise_exception('no') }}"])
def test_a_template_that_fails_is_an_error_of_the_template(template: str) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.chat_template = template
    with pytest.raises(DataError, match="the chat template refuses"):
        find_turn_end(tokenizer)


def test_half_a_surrogate_pair_is_named(tokenizers: Any) -> None:
    with pytest.raises(DataError, match="row 1: half a surrogate pair"):
        tokenize(tokenizers["chatml"], Conversation((Message("user", "\ud800"), Message("assistant", "y"))))


def test_packed_rows_without_positions_stop_the_run(write_recipe: Any, finetune: Any, monkeypatch: Any) -> None:
    from trl.trainer import sft_trainer

    whole = sft_trainer.DataCollatorForLanguageModeling.torch_call

    def without(self: Any, examples: Any) -> Any:
        return {key: value for key, value in whole(self, examples).items() if key != "position_ids"}

    monkeypatch.setattr(sft_trainer.DataCollatorForLanguageModeling, "torch_call", without)
    # TRL lays out the batches of a model that is compiled.
    code, _, err = finetune(write_recipe(sample_packing=True, torch_compile=True))
    assert code == TrainingError.exit_code and "documents would see each other" in err


def test_a_row_without_an_answer_is_named(tokenizers: Any) -> None:
    with pytest.raises(DataError, match="row 2: nothing in it is learned"):
        tokenize(tokenizers["chatml"], TALK, Conversation((Message("user", "x"),)))


def test_long_rows_are_dropped_cut_or_refused_and_counted(tokenizers: Any) -> None:
    long = Conversation((Message("user", "x"), Message("assistant", "word " * 400)))
    tokenizer = tokenizers["chatml"]
    dropped = tokenize(tokenizer, TALK, long, sequence_len=128)
    assert (dropped.counted.kept, dropped.counted.dropped) == (1, 1)
    cut = tokenize(tokenizer, TALK, long, sequence_len=128, excess_length_strategy="truncate")
    assert (cut.counted.kept, cut.counted.truncated, len(cut.examples[1].input_ids)) == (2, 1, 128)
    with pytest.raises(DataError, match="row 2: it has"):
        tokenize(tokenizer, TALK, long, sequence_len=128, excess_length_strategy="error")
    with pytest.raises(DataError, match="none of the 1 rows of d is left"):
        tokenize(tokenizer, long, sequence_len=128)


def test_a_template_whose_tokens_the_tokenizer_lacks_is_refused() -> None:
    with pytest.raises(ModelError, match="does not know as one token"):
        set_template(name="llama3", jinja=None, tokenizer=tiny.tokenizer_of("chatml"))
    with pytest.raises(RecipeError, match="line 1"):
        set_template(name="jinja", jinja="{% for %}", tokenizer=tiny.tokenizer_of("chatml"))


@pytest.mark.parametrize(("packing", "flattening"), [(False, "auto"), (True, "auto"), (False, False)])
def test_labels_that_get_lost_on_the_way_to_the_trainer_stop_the_run(
    packing: bool, flattening: Any, write_recipe: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl.trainer import sft_trainer

    from finetune.kernels import flat

    padded, laid = sft_trainer.DataCollatorForLanguageModeling.torch_call, flat.batch_of

    def forgetful(self: Any, examples: Any) -> Any:
        batch = padded(self, examples)
        batch["labels"][0, (batch["labels"][0] != IGNORED).nonzero()[-1]] = IGNORED
        return batch

    def forgotten(ids: Any, labels: Any, lengths: Any) -> Any:
        labels = labels.clone()
        labels[(labels != IGNORED).nonzero()[-1]] = IGNORED
        return laid(ids, labels, lengths)

    monkeypatch.setattr(sft_trainer.DataCollatorForLanguageModeling, "torch_call", forgetful)
    monkeypatch.setattr(flat, "batch_of", forgotten)
    code, _, err = finetune(write_recipe(sample_packing=packing, batch_flattening=flattening, train_on_inputs=True))
    assert code == TrainingError.exit_code and "labels were lost" in err


def test_packed_documents_do_not_see_each_other(tiny_models: dict[str, Path]) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    model = AutoModelForCausalLM.from_pretrained(tiny_models["chatml"], attn_implementation="sdpa").eval()
    documents = [torch.randint(0, 300, (length,)).tolist() for length in (9, 14, 6)]
    row = {
        "input_ids": [token for document in documents for token in document],
        "labels": [token for document in documents for token in document],
        "seq_lengths": [9, 14, 6],
    }
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([row])
    with torch.no_grad():
        packed = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
        alone = [model(input_ids=torch.tensor([document])).logits[0] for document in documents]
    assert torch.allclose(packed, torch.cat(alone), atol=1e-5)
