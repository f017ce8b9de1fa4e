"""The codes of what is said about a recipe, with the text of their section in docs/codes.md. Decides no finding."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """`severity`: error, warning or note. `title`: the finding in a few words. `text`: why it matters, what to do."""

    severity: str
    title: str
    text: str


CODES: dict[str, Code] = {
    "FT001": Code(
        "error",
        "the file cannot be read as a recipe",
        "It is missing, not UTF-8, not YAML 1.2, no mapping, too large or nested too deeply, holds a key twice or a "
        "YAML tag. Recipes hold plain values only, so that reading one can never run anything.",
    ),
    "FT002": Code(
        "error",
        "unknown key",
        "No section of the recipe has this key and Axolotl does not know it either. A misspelt key would silently "
        "leave its default in force; the message names the nearest key there is.",
    ),
    "FT003": Code(
        "error",
        "wrong value",
        "The value has another type than the key takes, or lies outside its range. docs/keys.md lists type and range "
        "of every key.",
    ),
    "FT004": Code(
        "error",
        "a key that is known and not honoured",
        "Axolotl knows the key, this program does not act on it, and the recipe switches it on. Running on without it "
        "would train something else than the recipe says. Off (null, false, empty) the line is accepted.",
    ),
    "FT005": Code(
        "error",
        "lines that contradict each other",
        "Each line is legal by itself, but they cannot both hold. The message says which one to keep.",
    ),
    "FT006": Code(
        "error",
        "a secret in the recipe",
        "Something looks like a token, key or password. Recipes are shared in git, so it belongs into the environment "
        "(HF_TOKEN, WANDB_API_KEY, ...). Its value is never printed or stored. Revoke it if it was ever committed.",
    ),
    "FT007": Code(
        "error",
        "the parts do not fit together",
        "An `extends` file is missing or refers back to itself, a `${...}` cannot be filled in, or an override on the "
        "command line does not fit the recipe.",
    ),
    "FT008": Code(
        "error",
        "the backend cannot honour the key",
        "The recipe names a backend that has no such setting. Remove the line, or name another backend; "
        "`backend: auto` picks one that can.",
    ),
    "FT009": Code(
        "error",
        "what is trained has changed",
        "`validate --snapshot` tokenized the data anew, and tokens or labels are not those of the recipe's .snapshot: "
        "the data, the template, the recipe or a library changed. If that is meant, write the snapshot anew with "
        "`finetune preview RECIPE --snapshot` and review its difference.",
    ),
    "FT010": Code(
        "note",
        "an old spelling",
        "The line is understood and means what the note shows. `finetune upgrade FILE` rewrites it.",
    ),
    "FT011": Code(
        "warning",
        "the line changes nothing",
        "Every other legal value of the key was tried and the plan stayed the same, on a GPU and without one. Either "
        "something that it depends on is missing, or the line can go.",
    ),
    "FT012": Code(
        "warning",
        "a learning rate far off for the method",
        "Adapters are usually trained with 1e-5 to 1e-3, whole models with 1e-6 to 1e-4; preference methods with a "
        "tenth of that. Outside of it, runs mostly diverge or learn nothing. Plain sgd and adafactor differ and are "
        "not judged.",
    ),
    "FT013": Code(
        "warning",
        "the effective batch does not fit the data",
        "micro_batch_size x gradient_accumulation_steps rows make one step. With as many rows in a step as in the "
        "whole training set, an epoch is one step, and the learning rate's course means nothing.",
    ),
    "FT014": Code(
        "warning",
        "warm-up as long as the run",
        "The learning rate never reaches the value that the recipe names.",
    ),
    "FT015": Code(
        "warning",
        "an evaluation that never comes",
        "The first one would be due after the last step. It is measured at the end of the run only.",
    ),
    "FT016": Code(
        "warning",
        "a checkpoint that never comes",
        "The first one would be due after the last step, so a stopped run has nothing to go on from. The finished "
        "adapter or model is saved all the same.",
    ),
    "FT017": Code(
        "warning",
        "packing with attention that needs care",
        "Packed rows share one sequence. Only kernels that are told where each document ends keep them apart; others "
        "need a mask that costs memory, or mix documents.",
    ),
    "FT018": Code(
        "warning",
        "questions are learned too",
        "`train_on_inputs: true` with a chat template also teaches the model to write the user's turns. Answers alone "
        "are learned with false, the default.",
    ),
    "FT019": Code(
        "warning",
        "modules that the architecture lacks",
        "base_model is a local folder, and its config.json names an architecture without a module of that name. The "
        "adapter would skip it, or attaching fails.",
    ),
    "FT020": Code(
        "warning",
        "a package that the recipe needs is not installed",
        "The recipe stands, but this machine could not run it. `finetune doctor` lists what to install.",
    ),
    "FT021": Code(
        "warning",
        "remote code that is not pinned",
        "`trust_remote_code: true` runs Python code of the model's repository, as it is on the day of the run. Pin "
        "`revision_of_model` to a commit (for a local folder: to the digest that the refusal shows). Training refuses "
        "the unpinned line as soon as repository code would run.",
    ),
    "FT022": Code(
        "warning",
        "a data file that is not there",
        "Checked beside the recipe and in the working directory. No error, since recipes are also checked on machines "
        "without the data.",
    ),
    "FT023": Code(
        "note",
        "accepted, and without effect here",
        "The line asks for something that this program does in its own way or does not need, and the trained result "
        "does not hang on it. The note says why; the line can go.",
    ),
    "FT024": Code(
        "warning",
        "a silence that silences nothing",
        "`silence` names a code that is not found in this recipe any more. Remove the line.",
    ),
    "FT025": Code(
        "warning",
        "a source named twice",
        "Two entries of datasets read the same rows, which are then learned twice as often as the others. `weight: 2` "
        "says so on purpose.",
    ),
    "FT026": Code(
        "warning",
        "several chat templates",
        "Entries of datasets are rendered under different chat templates. One of them is saved with the tokenizer, and "
        "whoever talks to the model does so under that one.",
    ),
    "FT027": Code(
        "note",
        "a sweep that this command does not run",
        "The recipe holds a `sweep` section. `finetune sweep` tries its values; every other command goes by the values "
        "that the recipe's own lines have.",
    ),
    "FT028": Code(
        "warning",
        "a checkpoint that is quantized already",
        "The weights in base_model were quantized when the checkpoint was made (its config.json says how), so the keys "
        "that quantize do not, or contradict it. Where nothing can be trained on such weights, training refuses the "
        "recipe; the message says what to write instead.",
    ),
    "FT029": Code(
        "warning",
        "rows longer than the model's positions",
        "`sequence_len` is more than `max_position_embeddings` of the model's config.json (or of what is known of a "
        "model of that name). Some models fail on such rows, others learn them badly.",
    ),
    "FT030": Code(
        "warning",
        "training would not fit the GPU",
        "The estimated peak of memory, with what the driver takes, is more than the GPU named with --gpu, or the one "
        "found, has. The message holds the smallest change of the recipe with which it would fit. docs/memory.md says "
        "what is counted and how exactly.",
    ),
    "FT031": Code(
        "warning",
        "a value far off what trains",
        "A legal value with which hardly any model learns: a scale of the adapter (lora_alpha / lora_r) above 32, "
        "`weight_decay` above 1, `max_grad_norm` below 0.001, `neftune_noise_alpha` above 50. Most are a misplaced "
        "decimal point.",
    ),
    "FT032": Code(
        "note",
        "a default that is another one with Axolotl",
        "The file has lines that only Axolotl's files have, and leaves a key unwritten whose default differs: trained "
        "here it would come to something else. Write the line; docs/from_axolotl.md lists these defaults.",
    ),
    "FT033": Code(
        "warning",
        "attention that leaves out what the model does",
        "Gemma 2 and its like bound the scores of their attention (attn_logit_softcapping in config.json). `sdpa` does "
        "not do that, so it would train another model than the one that answers later: such a run ends as the model is "
        "loaded. `auto`, `eager` and `flex_attention` keep the bound.",
    ),
    "FT040": Code(
        "error",
        "no lock that can be read",
        "`--frozen` holds a run to the RECIPE.lock beside its recipe, and there is none, or it is damaged (two sides "
        "of a merge, another file). `finetune lock RECIPE` writes it anew; its difference belongs into the review.",
    ),
    "FT041": Code(
        "error",
        "not as it was locked",
        "A value of the recipe, a commit, the bytes of a model, of data or of a template, the planned calls, or the "
        "tokens and labels that are trained are not those of RECIPE.lock. The message says what was and what is. Put "
        "the old state back or, if the change is meant, write the lock anew with `finetune lock RECIPE` and review its "
        "difference.",
    ),
    "FT042": Code(
        "error",
        "another version of a library than was locked",
        "The same recipe may come to other weights. Install the locked version, write the lock anew with `finetune "
        "lock RECIPE`, or train with the versions that are here: `--frozen --other-versions`. Builds of one version "
        "for a CPU and for GPUs count as the same.",
    ),
    "FT043": Code(
        "warning",
        "the lock does not hold any more",
        "RECIPE.lock lies beside the recipe, and this run, which was not asked to keep to it, trains something else. "
        "`--frozen` makes that an error; `finetune lock RECIPE` writes the lock anew.",
    ),
    "FT044": Code(
        "note",
        "locked, and not compared here",
        "The files that the lock names are not on this machine, so their bytes were not looked at. Where they are "
        "trained on, they are.",
    ),
}
