"""Recipe keys of the data: sources, their format and roles, the template, labels, lengths, validation rows."""

from typing import Annotated, Literal

from pydantic import Field

from finetune.recipe.base import Number, Reaches, Whole
from finetune.recipe.labels import ChatTemplate, EntryLabels, LabelSection
from finetune.recipe.rows import RowKeys


class DatasetEntry(RowKeys, EntryLabels):
    path: Annotated[str, Field(min_length=1, examples=["data.jsonl", "org/name"]), Reaches("format")]
    """A file (.jsonl, .json, .csv, .tsv, .parquet, .arrow, .txt, .md, each also with .gz, .bz2, .xz or .zst), a folder,
    a pattern (data/*.jsonl), an address (https, s3, gs, hf) or a hub id. A relative path is looked up beside the
    recipe, then in the working directory."""
    data_files: Annotated[
        str | list[str] | None, Field(min_length=1, examples=["a.jsonl", ["data/*.parquet"]]), Reaches("format")
    ] = None
    """Which files of a hub dataset or a folder; with `path: json` (or csv, parquet, arrow, text), local files."""
    ds_type: Annotated[
        Literal["json", "csv", "parquet", "text", "arrow"] | None, Field(examples=["json", "text"]), Reaches("format")
    ] = None
    """Kind of the files where their names do not tell it, and which to take in a folder of several kinds."""
    sample_by: Annotated[
        Literal["line", "paragraph", "document"] | None, Field(examples=["line", "document"]), Reaches("format")
    ] = None
    """What one row of a text file is. Unset: a line of .txt, the whole of .md."""
    split: Annotated[str, Field(min_length=1, examples=["train", "validation[:10%]"]), Reaches("format")] = "train"
    """Split of a hub dataset or of a folder whose files' names tell one, whole or a part of its rows: train[:10%],
    train[100:200]. A local file is one split, train."""
    name: Annotated[str | None, Field(min_length=1, examples=["en", "default"]), Reaches("format")] = None
    """Configuration of a hub dataset."""
    revision: Annotated[str | None, Field(min_length=1, examples=["main", "v2"]), Reaches("format")] = None
    """Branch, tag or commit of a hub dataset."""
    filter: Annotated[
        str | None, Field(min_length=1, examples=["{{ row.lang == 'en' }}", "{{ row.score > 3 }}"]), Reaches("format")
    ] = None
    """Only the rows for which this jinja2 expression holds. `row` is the row as the file has it."""
    shards: Annotated[Whole | None, Field(ge=1, examples=[2, 10]), Reaches("format")] = None
    """Only one row in this many: of each so many rows that stand together, the one that shards_idx names."""
    shards_idx: Annotated[Whole, Field(ge=0, examples=[0, 1]), Reaches("format", needs={"shards": 2})] = 0
    """Which of the shards, from 0."""
    max_rows: Annotated[Whole | None, Field(ge=1, examples=[100, 1000]), Reaches("format")] = None
    """So many rows at most, drawn from all rows by their content and sample_seed; they keep their order."""
    weight: Annotated[Number, Field(gt=0, le=1000, examples=[0.5, 2]), Reaches("format")] = 1.0
    """How often the rows count, after filter, shards and max_rows: 0.5 keeps half of them, drawn as for max_rows; 2.5
    takes each twice and half of them once more."""
    weight_unit: Annotated[
        Literal["rows", "tokens"], Field(examples=["tokens", "rows"]), Reaches("format", needs={"weight": 0.5})
    ] = "rows"
    """What a fraction in `weight` is a fraction of. `tokens`: as many drawn rows as come nearest to that share of the
    tokens that remain when long rows are cut or dropped."""
    sample_seed: Annotated[Whole, Field(ge=0, examples=[0, 1]), Reaches("format", needs={"max_rows": 100})] = 0
    """Another number draws other rows for max_rows and weight."""


Datasets = Annotated[list[DatasetEntry], Field(min_length=1)]
_PATHS = [[{"path": "data.jsonl"}], [{"path": "other.jsonl"}]]


class DataSection(LabelSection):
    datasets: Annotated[Datasets, Field(examples=_PATHS), Reaches("format")]
    """Training data; several sources are joined in order and shuffled by the trainer."""
    streaming: Annotated[bool, Reaches("format", needs={"max_steps": 20})] = False
    """For data that is larger than the disk: of each source only the beginning is read, as many rows as max_steps will
    train on, the sources mixed by their `weight`. What is kept on disk is at most the tokens of those steps."""
    shuffle_before_merging_datasets: Annotated[bool, Reaches("format")] = False
    """Shuffle the rows of each source by `seed` before the sources are joined. It is seen with curriculum_sampling:
    true, which takes one source after the other."""
    dataset_exact_deduplication: Annotated[bool, Reaches("format")] = False
    """Take rows that say the same only once, in whichever source they stand; one that is among test_datasets is not
    trained on."""
    on_bad_row: Annotated[Literal["error", "skip"], Field(examples=["error", "skip"]), Reaches("format")] = "error"
    """Bad rows (no JSON, unknown role, nothing to learn, ...) stop the run, or are left out, counted and listed in
    skipped_rows.jsonl in the run folder."""
    test_datasets: Annotated[Datasets | None, Field(examples=_PATHS), Reaches("format", "train")] = None
    """Validation data in files of its own, instead of val_set_size."""
    val_set_size: Annotated[Number, Field(ge=0, examples=[0.05, 100]), Reaches("format", "train")] = 0.0
    """Validation rows taken from the training data: a share below 1, or a number of rows. Which rows hangs on their
    content: equal rows stay together, and with a share a row never changes sides when others are added."""
    sequence_len: Annotated[
        Whole,
        Field(ge=8, examples=[1024, 512]),
        Reaches("format", "train", unsloth=("load", "format", "adapt", "train")),
    ] = 2048
    """Tokens of a row at most."""
    excess_length_strategy: Annotated[
        Literal["drop", "truncate", "split", "error"], Field(examples=["truncate", "drop"]), Reaches("format")
    ] = "drop"
    """What becomes of a longer row; `split` makes several of it, each of at most sequence_len. What is dropped or cut
    is always reported."""
    truncation_side: Annotated[
        Literal["right", "left"],
        Field(examples=["right", "left"]),
        Reaches("format", needs={"excess_length_strategy": "truncate"}),
    ] = "right"
    """Which end of a longer row is cut off. Cut on the left, a row has no beginning-of-text token."""
    min_sample_len: Annotated[Whole, Field(ge=0, examples=[2, 10]), Reaches("format")] = 0
    """Rows with fewer tokens are dropped, and reported."""
    text_chunks: Annotated[
        Literal["document", "joined", "whole"], Field(examples=["document", "joined"]), Reaches("format")
    ] = "document"
    """Plain text (`type: completion`) that is longer than sequence_len. `document`: each text is cut into consecutive
    pieces. `joined`: the texts are laid end to end, each with its end token, and cut into pieces that are all full.
    `whole`: as excess_length_strategy says."""
    max_dropped_share: Annotated[Number, Field(ge=0, le=1, examples=[0.2, 0.5]), Reaches("format")] = 0.2
    """The run stops if a source loses a larger share of its rows, being too long, too short or bad."""
    dataset_prepared_path: Annotated[
        str | None, Field(min_length=1, examples=["prepared", "/scratch/prepared"]), Reaches("format")
    ] = None
    """Folder in which tokens and labels are kept between runs, by the content of data, tokenizer and recipe. Unset:
    ~/.cache/finetune/prepared, or `prepared` in FINETUNE_CACHE."""
    dataset_num_proc: Annotated[Whole | None, Field(ge=1, le=64, examples=[2, 4]), Reaches("format")] = None
    """Processes that tokenize. Unset: one for each core this process may use, 8 at most. The outcome does not hang on
    it."""
    chat_template: Annotated[
        ChatTemplate,
        Field(examples=["chatml", "tokenizer_default_fallback_chatml"]),
        Reaches("format"),
    ] = "tokenizer_default"
    """How messages become text: the tokenizer's own template; one by name; `tokenizer_default_fallback_NAME`, that one
    where the tokenizer has none; `trl/NAME`, one of those that TRL ships; or `jinja` for chat_template_jinja."""
    chat_template_jinja: Annotated[
        str | None,
        Field(min_length=1, examples=["{{ messages[0]['content'] }}", "{{ messages[-1]['content'] }}"]),
        Reaches("format", needs={"chat_template": "jinja"}),
    ] = None
    """The template when chat_template is `jinja`: its text, or a file (my.jinja), looked up beside the recipe, then in
    the working directory. It runs in jinja2's sandbox."""
    sample_packing: Annotated[bool, Reaches("format", "train")] = False
    """Put several rows into one of sequence_len tokens; they never attend to each other."""
    pad_to_sequence_len: Annotated[bool, Reaches("train")] = False
    """Pad every batch to sequence_len (constant shapes) instead of to its longest row; packed, to micro_batch_size of
    them."""
