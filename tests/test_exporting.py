"""Exports for other programs: GGUF files, Ollama's Modelfile, servers; and publishing. What llama.cpp itself makes of
the files is tested by the slow ones, where llama-cpp-python is installed."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest
import torch
import transformers
import yaml

from finetune.errors import MachineError, ModelError, RecipeError, RunFolderError, UsageError
from finetune.exporting import gguf_export, gguf_tools, llama_server, ollama, targets
from finetune.exporting.finished import finished_run
from finetune.exporting.gguf_file import Source, sampling_facts, write_gguf
from finetune.exporting.gguf_model import ARCHITECTURES, architecture_of
from finetune.exporting.gguf_reading import LlamaReader, by_transformers, gguf_facts
from finetune.exporting.gguf_tokens import name_for_tokens, vocabulary_of
from finetune.exporting.go_template import Layout, go_of, layout_of, literal, printed, render_go
from finetune.exporting.hub import _sendable
from finetune.exporting.llama_template import GIVEN, as_trained
from finetune.exporting.older import for_older_readers
from finetune.exporting.proof import Bound, Proof
from finetune.exporting.public import Base, Public, base_of
from finetune.exporting.servers import vllm_defaults
from finetune.rendering.layouts import LAYOUTS
from finetune.rendering.template import renderer_of
from finetune.rundir import publish
from tests import tiny
from tests.finished import finished

LORA = {"adapter": "lora", "lora_r": 4}
BASE = ("--base", "maker/tiny@0123abc")
LEARNED = {"adapter": "prompt_tuning", "num_virtual_tokens": 4}
TEXT = "<|im_start|>user\nIt's 12345, naïve café – 東京,  don't!\n\n<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(autouse=True)
def without_tools(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Neither a llama.cpp of this machine nor its Python package has a say, but in the slow tests."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.delenv(gguf_tools.FOLDER, raising=False)
        monkeypatch.setattr("finetune.exporting.gguf_reading.llama_cpp_there", lambda: False)
        monkeypatch.setattr(gguf_tools, "llama_cpp_there", lambda: False)
        monkeypatch.setattr(gguf_tools.shutil, "which", lambda *_, **__: None)
        monkeypatch.setattr(llama_server, "server", lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Path:
    """One finished run of the Llama 3 family, whose prompts begin with a begin token."""
    folder = tmp_path_factory.mktemp("run")
    values = {
        "base_model": str(tiny_models["llama3"]),
        "datasets": [{"path": "d.jsonl", "type": "chat_template"}, {"path": "some/data", "type": "alpaca"}],
        "output_dir": str(folder / "run"),
        "generation_max_new_tokens": 4,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values | LORA))
    path = finished(folder / "recipe.yaml")
    (path / "recipe.yaml").write_text((folder / "recipe.yaml").read_text())
    return path


COMMON = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
}
ROPE3 = {"rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LONG = {"rope_theta": 1e4, "long_factor": [1.5] * 8, "short_factor": [1.1] * 8, "original_max_position_embeddings": 384}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama with biases": ("Llama", {"attention_bias": True}),
    "Llama 3 positions": (
        "Llama",
        {"rope_parameters": {"rope_type": "llama3", "original_max_position_embeddings": 64, **ROPE3}},
    ),
    "Llama with yarn": (
        "Llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 2.0,
                "original_max_position_embeddings": 256,
            }
        },
    ),
    "Mistral": ("Mistral", {"head_dim": 32, "sliding_window": None}),
    "Qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "Qwen3": ("Qwen3", {"head_dim": 32}),
    "Gemma": ("Gemma", {"head_dim": 16}),
    "Gemma2": ("Gemma2", {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32}),
    "Gemma3": (
        "Gemma3Text",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 32, "num_hidden_layers": 7},
    ),
    "Phi3": ("Phi3", {}),
    "Phi3 with long positions": (
        "Phi3",
        {"original_max_position_embeddings": 384, "rope_parameters": {"rope_type": "longrope", **LONG}},
    ),
}


def model_of(kind: str, tokenizer: Any, folder: Path) -> Any:
    """A tiny model of an architecture, with weights and norms that are all different, in a folder."""
    name, own = MODELS[kind]
    ends = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = getattr(transformers, f"{name}Config")(**COMMON | ends | own)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    with torch.no_grad():
        for called, weight in model.named_parameters():
            weight += (0.3 if "norm" in called else 0.1) * torch.randn_like(weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def written(folder: Path, tokenizer: Any, quantization: str = "f32", begins: bool = False) -> Path:
    stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    path = folder / f"{quantization}.gguf"
    write_gguf(Source(folder, tokenizer, stops, begins, "tiny", {"temperature": 0}), quantization, path)
    return path


def logits_of(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def test_every_architecture_has_a_model_here() -> None:
    classes = {f"{name.removesuffix('Text')}ForCausalLM" for name, _ in MODELS.values()}
    assert classes == ARCHITECTURES.keys()


@pytest.mark.parametrize("kind", ["Llama with biases", "Gemma3", "Phi3"])
def test_weights_come_back_from_a_gguf_file_as_they_were(kind: str, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    model = model_of(kind, tokenizer, tmp_path)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    for quantization, off in (("f32", 1e-5), ("q8_0", 0.2)):
        path = written(tmp_path, tokenizer, quantization)
        found = by_transformers(path, tmp_path).logits(ids, len(ids))
        assert np.abs(found - logits_of(model, ids)).max() < off, quantization


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_llama_cpp_computes_what_transformers_does(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    tokenizer = tiny.tokenizer_of("chatml")
    model = model_of(kind, tokenizer, tmp_path)
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    reader = LlamaReader(written(tmp_path, tokenizer), 256)
    assert reader.ids_of(TEXT) == ids
    # ggml looks the activation of the Gemma models up in a table of 16 bits.
    off = 1e-2 if kind.startswith("Gemma") else 1e-4
    assert np.abs(reader.logits(ids, len(ids)) - logits_of(model, ids)).max() < off
    assert reader.ends(tokenizer.convert_tokens_to_ids("<|im_end|>")) and reader.ends(tokenizer.eos_token_id)
    assert not reader.ends(ids[5])
    reader.close()


@pytest.mark.slow
@pytest.mark.parametrize("to", ["gguf", "ollama"])
@pytest.mark.parametrize("quantization", ["f16", "q8_0", "q4_k_m"])
def test_llama_cpp_proves_what_is_exported(
    to: str, quantization: str, run: Path, finetune: Any, tmp_path: Path
) -> None:
    pytest.importorskip("llama_cpp")
    code, _, err = finetune("export", run, "--to", to, "--quantization", quantization, "--output", tmp_path / "out")
    assert code == 0, err
    proof = json.loads((tmp_path / "out" / "proof.json").read_text())
    assert proof["read_by"].startswith("llama.cpp") and proof["figures"]["ids_equal"] == proof["figures"]["prompts"]


def test_a_gguf_file_holds_tokens_template_and_ends(run: Path, finetune: Any) -> None:
    code, _, err = finetune("export", run, "--to", "gguf", "--prompts", 2)
    assert code == 0, err
    path = next((run / "gguf").glob("*-f16.gguf"))
    assert not (run / "gguf" / "merged").exists()
    facts = gguf_facts(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "adapter")
    tokens = facts["tokenizer.ggml.tokens"]
    assert facts["tokenizer.chat_template"] == tokenizer.chat_template
    assert tokens[facts["tokenizer.ggml.eot_token_id"]] == "<|eot_id|>"
    assert tokens[facts["tokenizer.ggml.eos_token_id"]] == "<|end_of_text|>"
    assert tokens[facts["tokenizer.ggml.bos_token_id"]] == "<|begin_of_text|>"
    assert facts["tokenizer.ggml.add_bos_token"] is True, "the prompts of this family begin with it"
    proof = json.loads((run / "gguf" / "proof.json").read_text())
    assert proof["passed"] and any("llama-cpp-python is not installed" in line for line in proof["warnings"])


def test_what_llama_cpp_alone_can_make_is_refused_before_anything_is_loaded(run: Path, finetune: Any) -> None:
    code, _, err = finetune("export", run, "--to", "gguf", "--quantization", "q4_k_m", "--output", run / "q4")
    assert code == MachineError.exit_code and "llama-cpp-python" in err and not (run / "q4").exists()


def test_llama_cpps_converter_is_used_where_it_is_found(
    run: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gguf_tools.FOLDER, str(tmp_path))
    tool = tmp_path / gguf_tools.CONVERTER
    finetune("export", run, "--to", "gguf", "--prompts", 1, "--output", tmp_path / "first")
    file = next((tmp_path / "first").glob("*.gguf"))
    tool.write_text(f"import shutil, sys; shutil.copy({str(file)!r}, sys.argv[3])")
    assert finetune("export", run, "--to", "gguf", "--prompts", 1, "--output", tmp_path / "by it")[0] == 0
    assert _written_by(tmp_path / "by it") == f"llama.cpp's {gguf_tools.CONVERTER}"
    tool.write_text("import sys; sys.exit('BPE pre-tokenizer was not recognized')")
    assert finetune("export", run, "--to", "gguf", "--prompts", 1, "--output", tmp_path / "without it")[0] == 0
    assert _written_by(tmp_path / "without it").startswith("finetune"), "what it cannot, this program may"


def _written_by(folder: Path) -> str:
    return str(json.loads((folder / "proof.json").read_text())["written_by"])


def test_a_quantization_is_for_gguf_files_alone(run: Path, finetune: Any) -> None:
    code, _, err = finetune("export", run, "--to", "vllm", "--quantization", "f16")
    assert code == UsageError.exit_code and "gguf and ollama" in err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "LLAMA_CPP"),
        ({"rope_parameters": {"rope_type": "dynamic"}}, "rope_type dynamic"),
        ({"mlp_bias": True}, "mlp_bias"),
    ],
)
def test_a_model_that_cannot_be_written_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        architecture_of({"architectures": ["LlamaForCausalLM"]} | change)


def test_a_tokenizer_that_llama_cpp_would_split_differently_is_refused() -> None:
    from tokenizers import Regex, normalizers, pre_tokenizers

    tokenizer = tiny.tokenizer_of("chatml")
    assert vocabulary_of(tokenizer, len(tokenizer)).pre == "gpt-2"
    split = pre_tokenizers.Split(Regex(r"\w+"), "isolated")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    with pytest.raises(ModelError, match="no name for"):
        vocabulary_of(tokenizer, len(tokenizer))
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ModelError, match="Lowercase"):
        vocabulary_of(tokenizer, len(tokenizer))
    with pytest.raises(ModelError, match="embeddings"):
        vocabulary_of(tiny.tokenizer_of("chatml"), 300)


def test_a_name_with_phi_3_is_given_only_to_tokenizers_that_take_spaces_away() -> None:
    assert name_for_tokens("Phi-3.5-mini", tiny.tokenizer_of("chatml")) == "Phi 3.5-mini"


@pytest.mark.parametrize("name", LAYOUTS)
def test_ollamas_template_writes_what_the_trained_one_does(name: str) -> None:
    tokenizer = tiny.tokenizer_of("llama3")
    tokenizer.chat_template = LAYOUTS[name].jinja
    begin = "<|begin_of_text|>"
    template = go_of(layout_of(tokenizer, begin))
    render = renderer_of(tokenizer)
    turns = [("user", "a\nb"), ("assistant", "{{ c }}"), ("user", "d {%"), ("assistant", "e"), ("user", "f")]
    for count, system in ((1, ""), (3, ""), (5, ""), (1, "Be kind."), (3, "Be kind.")):
        messages = [{"role": role, "content": text} for role, text in turns[:count]]
        told = [{"role": "system", "content": system}] * bool(system) + messages
        assert render_go(template, system, told) == render(told, None, True).removeprefix(begin)


@pytest.mark.parametrize(
    "jinja",
    [
        "{% for m in messages %}{{ loop.index }}{{ m['content'] }}<|im_end|>{% endfor %}",
        "{{ messages[-1]['content'] }}<|im_end|>",
        "{% for m in messages %}{{ m['content'] | upper }}<|im_end|>{% endfor %}",
        "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] | length }}{{ m['content'] }}<|im_end|>"
        "{% endfor %}",
    ],
    ids=["numbers the turns", "forgets turns", "rewrites contents", "counts letters"],
)
def test_a_template_that_does_more_than_ollamas_can_is_refused(jinja: str) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.chat_template = jinja
    with pytest.raises(ModelError, match="Ollama"):
        layout_of(tokenizer, "")


def test_a_tokenizer_of_which_llama_cpp_would_make_other_tokens_fails_the_proof(finetune: Any, tmp_path: Path) -> None:
    """Found without llama.cpp: the file's own vocabulary says how llama.cpp splits."""
    from tokenizers import normalizers, pre_tokenizers

    tokenizer = tiny.sentencepiece_tokenizer("llama2, SentencePiece")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("\u2581", "always", split=False)
    tokenizer.chat_template = "<s>{% for m in messages %} {{ m['content'] }}</s>{% endfor %}"
    base = tiny.save_with(tmp_path / "base", tokenizer)
    values = {"base_model": str(base), "datasets": [{"path": "d.jsonl"}], "output_dir": str(tmp_path / "run")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values | LORA | {"generation_max_new_tokens": 4}))
    path = finished(tmp_path / "recipe.yaml")
    code, _, err = finetune("export", path, "--to", "gguf", "--prompts", 2)
    assert code == 9 and "other token ids" in err and "a space before all text" in err


def test_a_modelfile_holds_template_ends_and_sampling(run: Path, finetune: Any) -> None:
    code, _, err = finetune("export", run, "--to", "ollama", "--prompts", 3)
    assert code == 0, err
    text = (run / "ollama" / "Modelfile").read_text()
    file = re.match(r"FROM \./(\S+)\n", text)
    assert file and (run / "ollama" / file[1]).is_file()
    assert 'PARAMETER stop "<|eot_id|>"' in text and "PARAMETER temperature 0" in text
    assert "<|start_header_id|>user<|end_header_id|>" in text
    assert "<|begin_of_text|>" not in text, "Ollama puts it there, since the GGUF file says so"


STAND_IN = """#!{python}
import http.server, json, sys
class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({{"status": "ok"}})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({{"prompt": asked["messages"][0]["content"] + "!"}})
    def answer(self, said):
        text = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
if not sys.argv[2].endswith(".gguf"):
    sys.exit("error: no such model")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Server).serve_forever()
"""


def test_llama_cpps_server_is_asked_what_it_makes_of_prompts(
    run: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "llama-server"
    tool.write_text(STAND_IN.format(python=sys.executable))
    tool.chmod(0o755)
    talks = [[{"role": "user", "content": text}] for text in ("a", "b")]
    assert llama_server.prompts_of(str(tool), tmp_path / "x.gguf", talks) == ["a!", "b!"]
    with pytest.raises(MachineError, match="did not start: error: no such model"):
        llama_server.prompts_of(str(tool), tmp_path / "x.txt", talks)
    assert not list(tmp_path.glob("*.log"))
    monkeypatch.setattr(llama_server, "server", lambda: str(tool))
    code, _, err = finetune("export", run, "--to", "gguf", "--prompts", 2, "--output", tmp_path / "out")
    assert code == 9 and "llama-server makes other prompts of 2 of 2 conversations" in err
    render = renderer_of(transformers.AutoTokenizer.from_pretrained(run / "adapter"))
    monkeypatch.setattr(llama_server, "prompts_of", lambda _, __, asked: [render(talk, None, True) for talk in asked])
    code, _, err = finetune("export", run, "--to", "gguf", "--prompts", 2, "--output", tmp_path / "out")
    assert code == 0, err
    assert json.loads((tmp_path / "out" / "proof.json").read_text())["prompts_of_llama_server"] == "2 of 2 equal"


def test_a_modelfile_that_asks_otherwise_fails_the_proof(
    run: Path, finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    def wrong(*arguments: Any) -> Any:
        made = write_modelfile(*arguments)
        return replace(made, template=made.template.replace("\n\n", "\n"))

    write_modelfile = targets.write_modelfile
    monkeypatch.setattr(targets, "write_modelfile", wrong)
    code, _, err = finetune("export", run, "--to", "ollama", "--prompts", 2, "--output", tmp_path / "out")
    assert code == 9 and "other token ids" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("jinja", "kept"),
    [
        ("{{ date_string if date_string is defined else '26 Jul' }}{{ messages[0]['content'] }}", False),
        ("{% if not enable_thinking %}no{% endif %} enable_thinking {{ messages[0]['content'] }}", False),
        ("{% if enable_thinking is defined and not enable_thinking %}no{% endif %}{{ messages[0]['content'] }}", True),
        ("{{ messages[0]['content'] }}", True),
    ],
    ids=["a date", "thinking unless told", "no thinking if told", "nothing"],
)
def test_a_gguf_files_template_writes_as_in_training_what_llama_server_tells_it(jinja: str, kept: bool) -> None:
    made = as_trained(jinja, {})
    told = {"messages": [{"role": "user", "content": "x"}]}
    render = jinja2.Environment().from_string
    assert render(made).render(**told, **GIVEN) == render(jinja).render(**told)
    assert (made == jinja) == kept


def test_what_ollamas_language_cannot_say_is_noted() -> None:
    proof = Proof({}, Bound(0, 0, 0), (), (), ())
    layout = Layout("", None, "", "", "", trims=True)
    assert ollama.with_note(proof, ollama.Modelfile("", "", layout)).warnings == (ollama.TRIMMED, ollama.UNSAID)
    plain = Layout("", ("", ""), "", "", "", trims=False)
    assert ollama.with_note(proof, ollama.Modelfile("", "", plain)).warnings == ()


@pytest.mark.parametrize("text", ["\n", '"', 'a" b"\nc', "\\n", " x ", "日本"])
def test_a_modelfile_says_a_stop_text_as_it_is(text: str) -> None:
    """Ollama takes what stands between quotes as it is, and ends a text in three quotes at the next three."""
    quoted = ollama._quoted(text)
    marks = '"""' if quoted.startswith('"""') else '"'
    assert quoted == f"{marks}{text}{marks}" and (len(marks) == 3 or not {'"', "\n"} & set(text))


@pytest.mark.parametrize("text", ["a\u00a0b", "👩\u200d🌾", 'a """ b', "\x07"])
def test_what_ollama_would_drop_is_written_otherwise_in_the_template_and_refused_elsewhere(text: str) -> None:
    with pytest.raises(ModelError, match="cannot stand in a Modelfile"):
        ollama._quoted(text)
    assert render_go(literal(text), "", []) == text
    assert all(map(printed, literal(text)))


def test_a_server_answers_as_the_run_does_where_a_request_says_nothing(run: Path, tmp_path: Path) -> None:
    """vLLM draws where no temperature is said, and takes max_new_tokens for a bound that no request may exceed."""
    said = {"do_sample": False, "max_new_tokens": 4, "repetition_penalty": 1.0}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    option, changes = vllm_defaults(tmp_path)
    assert option == "--override-generation-config"
    assert json.loads(changes) == {"temperature": 0.0, "max_new_tokens": None}
    (tmp_path / "generation_config.json").write_text(json.dumps({"do_sample": True, "temperature": 0.7}))
    assert vllm_defaults(tmp_path) == []
    assert sampling_facts({"temperature": 0.5, "top_k": 40, "repetition_penalty": 1.1}) == {
        "general.sampling.temp": 0.5,
        "general.sampling.top_k": 40,
        "general.sampling.penalty_repeat": 1.1,
        "general.sampling.penalty_last_n": -1,
    }
    assert finished_run(run).sampling == {"temperature": 0, "repetition_penalty": 1.0}


PLAIN = {"rope_type": "default", "rope_theta": 1e6}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0}
LONG = {"short_factor": [1.0], "long_factor": [2.0]}


@pytest.mark.parametrize(
    ("parameters", "old"),
    [
        (PLAIN, {"rope_theta": 1e6, "rope_scaling": None}),
        ({"rope_theta": 5e5} | LLAMA3, {"rope_theta": 5e5, "rope_scaling": LLAMA3}),
        (
            {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64} | LONG,
            {"rope_theta": 1e4, "rope_scaling": {"type": "longrope"} | LONG},
        ),
        (
            {"full_attention": PLAIN, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
            {"rope_theta": 1e6, "rope_scaling": None, "rope_local_base_freq": 1e4},
        ),
        (PLAIN | {"partial_rotary_factor": 0.5}, {"rope_theta": 1e6, "rope_scaling": None, "rotary_pct": 0.5}),
    ],
    ids=["plain", "llama3", "longrope", "two kinds of layers", "gpt_neox"],
)
def test_merged_files_say_by_their_old_names_what_transformers_4_reads(
    parameters: dict[str, Any], old: dict[str, Any], tmp_path: Path
) -> None:
    kind = {"model_type": "gpt_neox" if "rotary_pct" in old else "phi3"}
    config = {"dtype": "bfloat16", "rope_parameters": parameters} | kind
    (tmp_path / "config.json").write_text(json.dumps({"text_config": config}))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<x>"], "is_local": True})
    )
    for_older_readers(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert found.items() >= (old | {"torch_dtype": "bfloat16"} | config).items()
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<x>"],
    }


@pytest.mark.parametrize("server", ["vllm", "tgi"])
def test_a_server_gets_weights_ends_template_and_a_start_command(server: str, run: Path, finetune: Any) -> None:
    code, _, err = finetune("export", run, "--to", server, "--prompts", 1)
    assert code == 0, err
    folder = run / server
    start = (folder / "start.sh").read_text()
    assert (folder / "start.sh").stat().st_mode & 0o111 and "127.0.0.1" in start
    assert ('--override-generation-config \'{"temperature": 0.0' if server == "vllm" else '"temperature": 0,') in start
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
    stops = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") in stops
    if server == "tgi":
        told = json.loads((folder / "tokenizer_config.json").read_text())
        assert told["chat_template"] == tokenizer.chat_template


def test_a_dry_run_writes_the_card_and_the_list_of_what_would_be_sent(
    run: Path, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", _not_to_be_called)
    code, out, err = finetune("push", run, "me/tiny", "--license", "apache-2.0", "--dry-run", *BASE)
    assert code == 0, err
    listed = json.loads((run / "push" / "files.json").read_text())
    assert listed["private"] and {"README.md", "adapter_model.safetensors", "finetune/recipe.yaml"} <= set(
        listed["files"]
    )
    card = (run / "push" / "README.md").read_text()
    facts = yaml.safe_load(card.split("---")[1])
    assert facts["license"] == "apache-2.0" and facts["datasets"] == ["some/data"] and facts["library_name"] == "peft"
    assert (facts["base_model"], facts["base_model_relation"]) == ("maker/tiny", "adapter")
    assert "lora_r: 4" in card and "`d.jsonl`" in card and 'AutoPeftModelForCausalLM.from_pretrained("me/tiny")' in card
    config = json.loads((run / "push" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("maker/tiny", "0123abc")
    assert "base_model: maker/tiny\n" in (run / "push" / "finetune" / "recipe.yaml").read_text()
    assert "adapter_config.json" in out and json.loads((run / "adapter" / "adapter_config.json").read_text()) != config
    for path in (run / "push").rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            said = path.read_text()
            assert str(run.parent) not in said and str(Path.cwd()) not in said and str(Path.home()) not in said, path
    loads = json.loads((run / "push" / "finetune" / "plan.json").read_text())["stages"]["load"]
    assert {call["arguments"].get("pretrained_model_name_or_path", "maker/tiny") for call in loads} == {"maker/tiny"}


def test_what_was_not_made_to_be_sent_is_not_sent(tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    (sent / ".git").mkdir(parents=True)
    for name in ("adapter.safetensors", ".git/config", ".hidden", "README.md", "../other"):
        (sent / name).write_text(name)
    assert list(_sendable(sent)) == ["adapter.safetensors"]
    (sent / "link").symlink_to(tmp_path / "other")
    with pytest.raises(RunFolderError, match="is a link to"):
        _sendable(sent)


def test_a_folder_that_cannot_take_its_name_leaves_the_old_one_there(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with pytest.raises(FileNotFoundError):
        publish(partial=str(tmp_path / "new"), final=str(tmp_path / "old"))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_adapter_on_a_folder_that_nobody_else_has_is_not_published(run: Path, finetune: Any) -> None:
    code, _, err = finetune("push", run, "me/tiny", "--license", "mit", "--dry-run")
    assert code == UsageError.exit_code and "--base OWNER/NAME" in err and "--what merged" in err
    code, _, err = finetune("push", run, "me/tiny", "--license", "mit", "--dry-run", "--base", "tiny")
    assert code == UsageError.exit_code and "is no model of the hub" in err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("path: /home/she/data/x.jsonl", "path: /home/she/data/x.jsonl"),
        ("path: {home}/data/my.jsonl # {home}/y", "path: my.jsonl # y"),
        ("path: '{here}/data/my.jsonl'", "path: 'data/my.jsonl'"),
        ("[file://{home}/a/b.json, ~/c/d.json]", "[b.json, d.json]"),
        ("output_dir: {here}/outputs/run", "output_dir: outputs/run"),
        ("base_model: ../models/tiny  # mine", "base_model: maker/tiny  # mine"),
        ("base_model_config: x/y", "base_model_config: x/y"),
        ("#!/bin/sh or /usr/bin/env python", "#!/bin/sh or /usr/bin/env python"),
        ("see https://x.org/a/b and and/or {home}more", "see https://x.org/a/b and and/or {home}more"),
    ],
)
def test_a_published_text_names_no_path_of_this_machine(before: str, after: str, tmp_path: Path) -> None:
    here = tmp_path / "work"
    public = Public("../models/tiny", Base("maker/tiny"), here, here / "outputs" / "run")
    told = {"home": str(Path.home()), "here": str(here)}
    assert public.text(before.format(**told)) == after.format(**told)
    home = Path.home()
    said = {f"{home}/a/k.jsonl": [f"{home}/My Data/é.jsonl", "../models/tiny", "/no_think", 3], f"{home}/b/k.jsonl": 4}
    published = {"k.jsonl": ["é.jsonl", "maker/tiny", "/no_think", 3], "k.jsonl (2)": 4}
    assert json.loads(public.json(json.dumps(said))) == published


def test_a_model_that_the_hub_keeps_here_is_called_as_on_the_hub(tmp_path: Path) -> None:
    kept = tmp_path / "hub" / "models--maker--tiny-1.5" / "snapshots" / ("a" * 40)
    assert base_of(str(kept), tmp_path) == Base("maker/tiny-1.5", "a" * 40)
    assert base_of("maker/tiny", tmp_path) == Base("maker/tiny")
    (tmp_path / "maker" / "tiny").mkdir(parents=True)
    assert base_of("maker/tiny", tmp_path) is None


def test_a_card_holds_what_was_measured_how_to_ask_and_what_was_given_on_the_command_line(
    run: Path, finetune: Any, tmp_path: Path
) -> None:
    """The head is read back by huggingface_hub, as the hub reads it."""
    import shutil

    from huggingface_hub import ModelCard

    own = Path(shutil.copytree(run, tmp_path / "run"))
    figure = {"base": {"value": 9.0, "low": 8.0, "high": 10.0}, "tuned": {"value": 2.5, "low": None, "high": None}}
    empty = {"tuned": {"value": None, "low": None, "high": None}}
    (own / "evaluations").mkdir()
    (own / "evaluations" / "test.json").write_text(
        json.dumps({"data": "/home/x/test.jsonl", "rows": 7, "figures": {"perplexity": figure, "rouge1": empty}})
    )
    (own / "evaluations" / "broken.json").write_text("{")
    for name, changes in (
        ("origin.json", {"overrides": ["max_steps=3"]}),
        ("generation.json", {"style": "completion"}),
    ):
        (own / name).write_text(json.dumps(json.loads((own / name).read_text()) | changes))
    code, _, err = finetune("push", own, "me/tiny", "--license", "My Licence", "--dry-run", *BASE)
    assert code == 0, err
    card = ModelCard((own / "push" / "README.md").read_text())
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("perplexity", 2.5, "test.jsonl")
    assert card.data.license == "other" and card.data.license_name == "my-licence"
    assert "| perplexity | 9 [8, 10] | 2.5 |" in card.text and "Given beside it: `max_steps=3`" in card.text
    assert "tokenizer('Hello', return_tensors=\"pt\")" in card.text and "apply_chat_template" not in card.text
    assert "was not looked at" in card.text and "/home/x" not in card.content


def _not_to_be_called(*_: Any, **__: Any) -> None:
    raise AssertionError("a dry run sends nothing")


def test_a_push_sends_every_file_in_one_commit(run: Path, finetune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Commit:
        commit_url = "https://hub/commit"

    def commit(_: Any, repo: str, operations: list[Any], **__: Any) -> Commit:
        sent.update(repo=repo, paths=[operation.path_in_repo for operation in operations])
        return Commit()

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", lambda _, repo, **told: sent.update(told))
    monkeypatch.setattr("huggingface_hub.HfApi.create_commit", commit)
    code, out, _ = finetune("push", run, "me/tiny", "--license", "mit", *BASE)
    assert code == 0 and "https://hub/commit" in out
    assert sent["repo"] == "me/tiny" and sent["private"] is True and "README.md" in sent["paths"]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (["me/tiny"], UsageError, "--license"),
        (["tiny", "--license", "mit"], UsageError, "OWNER/NAME"),
        (["--license", "mit"], UsageError, "names no hub_model_id"),
        (["me/tiny", "--license", "mit", "--what", "merged"], RunFolderError, "finetune merge"),
        (["me/tiny", "--license", "mit"], MachineError, "hf auth login"),
    ],
    ids=["no licence", "no owner", "no name", "no such export", "no hub"],
)
def test_a_push_that_cannot_be_is_refused(
    arguments: list[str], error: type[Exception], said: str, run: Path, finetune: Any
) -> None:
    code, _, err = finetune("push", run, *arguments, *BASE)
    assert code == error.exit_code and said in err


def test_a_secret_is_not_published(run: Path, finetune: Any, request: pytest.FixtureRequest) -> None:
    path = run / "recipe.yaml"
    text = path.read_text()
    request.addfinalizer(lambda: path.write_text(text) and None)
    path.write_text(text + "# hf_" + "a" * 30 + "\n")
    code, _, err = finetune("push", run, "me/tiny", "--license", "mit", "--dry-run", *BASE)
    assert code == RecipeError.exit_code and "nothing was sent" in err and "aaaa" not in err


def test_every_quantization_has_its_bound() -> None:
    assert set(gguf_export.QUANTIZATIONS) == gguf_export.NUMBERS.keys() == gguf_export.SHARE.keys()


def test_a_recipe_has_its_run_exported(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    code, out, err = finetune(write_recipe(export_to=["safetensors", "gguf"], export_quantization="q8_0"))
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "merged" / "proof.json").read_text())["passed"]
    assert next((tmp_path / "run" / "gguf").glob("*-q8_0.gguf")).is_file() and "exported: " in out


@pytest.mark.parametrize(
    ("change", "keys", "error", "said"),
    [
        ({}, {"export_to": ["gguf"], "export_quantization": "q4_k_m"}, MachineError, "llama-cpp-python"),
        ({"architectures": ["MambaForCausalLM"]}, {"export_to": ["gguf"]}, ModelError, "cannot be written as GGUF"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, {"export_to": ["vllm"]}, ModelError, "16-bit weights"),
        ({}, LEARNED | {"export_to": ["gguf"]}, RecipeError, "nothing to merge"),
        ({}, {"export_to": ["gguf", "gguf"]}, RecipeError, "twice"),
        ({}, {"export_to": ["gguf"], "reward_model": True}, RecipeError, "write [safetensors]"),
    ],
    ids=["no tool", "another architecture", "quantized", "no weights learned", "twice", "a reward model"],
)
def test_what_could_not_be_exported_is_refused_before_training(
    change: dict[str, Any],
    keys: dict[str, Any],
    error: Any,
    said: str,
    write_recipe: Any,
    finetune: Any,
    tmp_path: Path,
) -> None:
    base = tmp_path / "base"
    tiny.save_model(base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | change))
    recipe = write_recipe(base_model=str(base), **keys)
    code, _, err = finetune(recipe)
    assert code == error.exit_code and said in err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("target", ["gguf", "ollama"])
def test_without_the_package_that_writes_gguf_files_its_name_is_told_before_anything_is_loaded(
    target: str, trained_run: Path, monkeypatch: pytest.MonkeyPatch, finetune: Any
) -> None:
    monkeypatch.setattr(gguf_tools, "installed", lambda _: False)
    code, out, err = finetune("export", trained_run, "--to", target)
    assert code == 6 and "finetune-recipes[export]" in err and "loading" not in out + err
