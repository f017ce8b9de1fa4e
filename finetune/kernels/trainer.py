"""TRL's trainer on batches without padding: an optimizer step in as few passes as a bound on tokens allows, the loss
straight from the hidden states. Proves on the loaded model that both give what it would give row by row.

Imports trl: only the runner's stages may import it, inside a function."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from trl import SFTConfig, SFTTrainer

from finetune import ranks
from finetune.data.apart import refuse_foresight, refuse_mixed_documents
from finetune.errors import TrainingError
from finetune.kernels import attention, flash, tiled
from finetune.kernels.flat import IGNORED, FlatCollator, batch_of, filled, nothing_like, passes_of
from finetune.kernels.graphs import DOCUMENTS, STEP, Recordings, own_gradients
from finetune.kernels.head import Head, head_of, trained_copy
from finetune.kernels.loss import SummedLoss, summed_loss
from finetune.kernels.sharding import ShardedCheckpoints
from finetune.kernels.sharing import SharingRows
from finetune.kernels.steps import QuickSteps, learning_of
from finetune.kernels.zero import compute_with, computing, gathered, rows_of, stage_of, unfinished
from finetune.precision import keep_float32

PROBE = (29, 23)
"""Tokens of the documents with which a model is tried."""
OURS = ("lengths", "learned", "targets")
"""What a batch holds for the trainer alone."""


@dataclass
class FlatSFTConfig(SFTConfig):  # type: ignore[misc]
    """`flat_or_fail`: no model is let off that mixes the documents of a row. `tokens_per_pass`: unset, a batch is one
    pass. `cut_cross_entropy`: never store the logits of a whole pass. `fill_batch_to`: fill each batch up to a multiple
    of so many tokens. `cuda_graphs`: record the model's layers and replay them."""

    flat_or_fail: bool = False

    tokens_per_pass: int | None = None
    cut_cross_entropy: bool = True
    fill_batch_to: int | None = None
    cuda_graphs: bool = False


class FlatSFTTrainer(QuickSteps, ShardedCheckpoints, SharingRows, SFTTrainer):  # type: ignore[misc]
    """`remarks`: what of its configuration the model did not allow. `attends`: with what, and why. `on_measured`:
    told of each batch of a measurement the sum of its losses, and over how many tokens.

    TrainingError if the model lets documents of one row see each other."""

    @functools.wraps(SFTTrainer.__init__)  # type: ignore[misc]
    def __init__(self, *given: Any, **runtime: Any) -> None:
        super().__init__(*given, **runtime)
        self.whole = self.accelerator.unwrap_model(self.model)
        keep_float32(self.whole, self.args.bf16 or self.args.fp16)
        self.remarks: list[str] = []
        self.loss_in_parts = self._loss_in_parts()
        self.on_measured: list[Callable[[tuple[Tensor, int]], None]] = []
        flash.begin("its kernels are not recorded (cuda_graphs: true)" if self.args.cuda_graphs else "")
        with _judged(self.model), computing(self.model):
            refuse_foresight(self.model)
            self.flat = self._lies_flat()
            heads = ranks.gathered(self._head() if self.flat and self.args.cut_cross_entropy else None)
        # Where the first alone holds weights yet, what it found counts.
        self.cut, self.head = None not in heads, Head(*heads[0] or ())
        if self.flat:
            self.data_collator = FlatCollator(self.processing_class.pad_token_id, self.args.fill_batch_to)
        if self.flat and self.args.cut_cross_entropy and not self.cut:
            self.remarks.append("the model makes its logits in its own way: the loss stores them whole")
        self.recordings = self._recordings() if self.args.cuda_graphs else None
        ours = self.flat and self.whole.config.get_text_config()._attn_implementation == attention.NAME
        self.attends = tuple(flash.TOLD) if ours else ()

    def _lies_flat(self) -> bool:
        """Whether rows can be laid end to end, if need be with the attention that the model came with."""
        # Alike in all processes: where the first alone holds weights yet, its verdict counts.
        why = self._mixes()
        if ranks.most(bool(why)) and attention.give_back(_inner(self.whole)):
            name, first = _inner(self.whole).config.get_text_config()._attn_implementation, why
            why = self._mixes()
            if not why:
                self.remarks.append(f"attention stays {name}: {_said(first)}")
        if not ranks.most(bool(why)):
            return True
        if self.args.flat_or_fail:
            raise why or TrainingError("another process cannot lay rows end to end")
        self.remarks.append(f"batches are padded: {_said(why)}")
        return False

    def _mixes(self) -> TrainingError | None:
        """Why the model cannot be given rows laid end to end, if it cannot."""
        try:
            with self.accelerator.autocast():
                refuse_mixed_documents(self.model, self._laid)
                self._attend_as_in_training()
        except TrainingError as error:
            return error
        return None

    def _attend_as_in_training(self) -> None:
        """TrainingError if the model then asks more of its attention than when it answers."""
        if self.whole.config.get_text_config()._attn_implementation != attention.NAME:
            return
        devices = [self.accelerator.device] if self.accelerator.device.type == "cuda" else []
        self.model.train()
        try:
            with torch.random.fork_rng(devices), torch.no_grad():
                self.model(**self._laid(torch.arange(4), [2, 2]))
        finally:
            self.model.eval()

    def _recordings(self) -> Recordings | None:
        if not self.flat or not torch.cuda.is_available() or self.accelerator.num_processes > 1:
            self.remarks.append("cuda_graphs has no effect: it is for one GPU, on batches without padding")
            return None
        if self.aux_loss_enabled:
            self.remarks.append("cuda_graphs has no effect: what the routers of experts say is not replayed")
            return None
        if tiled.said(flash.TOLD):
            self.remarks.append("cuda_graphs has no effect: attention in tiles asks where documents end")
            return None
        found = Recordings(_inner(self.whole).get_decoder())
        with _judged(self.model), torch.no_grad(), self.accelerator.autocast(), found.replayed():
            self.model(**self._laid(torch.arange(sum(PROBE)), list(PROBE)))
        if found.why_not:
            self.remarks.append(f"cuda_graphs has no effect: {found.why_not}")
            return None
        return found

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Sum of the losses of all passes; num_items_in_batch, which divides each, belongs to the whole step."""
        if not self.flat:
            padded: Tensor = super().training_step(model, inputs, num_items_in_batch)
            return padded
        total: Tensor | None = None
        passes = list(passes_of(inputs, self.args.tokens_per_pass)) or [dict(inputs)]
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            # Each pass gathers the weights from all processes, so all of them make as many.
            passes += [nothing_like(inputs)] * (ranks.most(len(passes)) - len(passes))
        for number, one in enumerate(passes):
            last = number == len(passes) - 1
            with nullcontext() if last else unfinished(self.accelerator, model):
                loss = self._pass(model, one, num_items_in_batch)
            total = loss if total is None else total + loss
        assert total is not None
        return total

    def _pass(self, model: Any, one: dict[str, Any], num_items_in_batch: Any) -> Tensor:
        loss: Tensor
        if self.recordings is None:
            loss = super().training_step(model, one, num_items_in_batch)
            return loss
        learning = self.learning or learning_of(self.whole)  # the largest batch is tried before there is an epoch
        fresh = all(weight.grad is None for weight in learning)
        one = filled(one, STEP, DOCUMENTS, self.processing_class.pad_token_id)
        with self.recordings.replayed():
            loss = super().training_step(model, one, num_items_in_batch)
        if fresh:
            own_gradients(learning)
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not self.flat:
            return self._padded_loss(model, inputs, return_outputs, num_items_in_batch)
        learned = len(inputs["targets"])
        count = learned if num_items_in_batch is None else num_items_in_batch
        given = self._given(inputs)
        if self.cut:
            with self.accelerator.autocast():
                hidden_TH, of_routers = self._last_hidden(model, given)
                hidden_TH = hidden_TH[0].index_select(0, inputs["learned"])
                loss = self._summed_loss(hidden_TH, inputs["targets"]) / max(count, 1)
            outputs = {"loss": loss}
        else:
            outputs = model(**given, labels=inputs["labels"], num_items_in_batch=count)
            of_routers = self._of_routers(outputs)
            loss = outputs["loss"] - of_routers
        if model.training:
            # It is a mean, which counts in a step as much as the pass has of its tokens.
            loss = loss + of_routers * (learned / max(count, 1))
        if num_items_in_batch is not None:
            # It counts the tokens of all processes, and the mean of their gradients is taken.
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _padded_loss(self, model: Any, inputs: Any, return_outputs: bool, count: Any) -> Any:
        """TRL's, in which the routers' loss counts as much as a pass has of its step's tokens, not whole in each."""
        if not self.aux_loss_enabled:
            return super().compute_loss(model, inputs, return_outputs, count)
        learned = int((inputs["labels"][:, 1:] != IGNORED).sum())
        loss, outputs = super().compute_loss(model, inputs, True, count)
        if model.training and count is not None:
            excess = 1 - learned / max(float(count), 1)
            loss = loss - self._of_routers(outputs) * excess * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _summed_loss(self, hidden_TH: Tensor, targets_T: Tensor) -> Tensor:
        if self.loss_in_parts is not None:
            in_parts: Tensor = self.loss_in_parts(hidden_TH, targets_T, self.head)
            return in_parts
        return summed_loss(hidden_TH, self.whole.get_output_embeddings().weight, targets_T, self.head)

    def _loss_in_parts(self) -> SummedLoss | None:
        """The loss as a module, where weights lie in parts over the processes and are put together for modules."""
        head = self.whole.get_output_embeddings()
        if head is None or stage_of(self.accelerator) < 3:
            return None
        loss = SummedLoss(head.weight)
        compute_with(self.whole, loss, head.weight)
        return loss

    def prediction_step(self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None) -> Any:
        """Loss alone: the logits of rows laid end to end are nobody's."""
        if not self.flat:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        del prediction_loss_only, ignore_keys
        count = len(inputs["targets"])
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs)).detach()
        for measured in self.on_measured:
            measured((loss.double() * count, count))
        return loss, None, None

    def _given(self, inputs: Any) -> dict[str, Any]:
        given = {name: value for name, value in inputs.items() if name not in (*OURS, "labels")}
        given |= {"cu_seq_lens_k": inputs["cu_seq_lens_q"], "max_length_k": inputs["max_length_q"], "use_cache": False}
        config = self.whole.config.get_text_config()
        if config._attn_implementation == attention.NAME and not getattr(config, "output_router_logits", False):
            # A finished mask is handed on as it is: none has to be made, and none is read, but where a loss of routers
            # takes it for one of tokens.
            given["attention_mask"] = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=inputs["input_ids"].device)
        return given

    def _last_hidden(self, model: Any, given: dict[str, Any]) -> tuple[Tensor, Tensor | float]:
        """(1, T, H) before the output head, which is asked for no token's logits; and the loss of routers."""
        seen: list[Tensor] = []
        decoder = _inner(self.whole).get_decoder()
        hook = decoder.register_forward_hook(lambda module, args, output: seen.append(output.last_hidden_state))
        none = torch.empty(0, dtype=torch.long, device=given["input_ids"].device)
        try:
            outputs = model(**given, logits_to_keep=none)
        finally:
            hook.remove()
        return seen[-1], self._of_routers(outputs)

    def _of_routers(self, outputs: Any) -> Tensor | float:
        """What a mixture of experts adds to the loss of a pass, as much as its own configuration says; 0 for any other
        model."""
        found: Tensor | None = outputs.get("aux_loss") if self.aux_loss_enabled else None
        return 0.0 if found is None else self.router_aux_loss_coef * found

    def _head(self) -> Head | None:
        """How the logits come of the last hidden states and one matrix, tried on a few tokens; None if otherwise."""
        head = trained_copy(_inner(self.whole).get_output_embeddings())
        if type(head) is not torch.nn.Linear or head.bias is not None:
            return None
        ids = torch.arange(sum(PROBE)) * 7 % rows_of(_inner(self.whole).get_input_embeddings().weight)
        given = self._laid(ids, list(PROBE))
        with torch.no_grad(), self.accelerator.autocast():
            try:
                hidden, _ = self._last_hidden(self.model, given)
            except (TypeError, AttributeError):
                return None  # a model that gives no such states, or takes no logits_to_keep
            logits = self.model(**given).logits
            with gathered(self.whole, [head.weight]):
                return head_of(_inner(self.whole), hidden.to(head.weight.dtype) @ head.weight.T, logits)

    def _laid(self, ids_T: Tensor, lengths: list[int]) -> dict[str, Any]:
        """What the model is given of documents with which it is tried."""
        return self._given(self._prepare_inputs(batch_of(ids_T.cpu(), ids_T.cpu(), lengths)))


def _inner(model: Any) -> Any:
    """The model below an adapter."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _said(error: TrainingError | None) -> str:
    return error.faults[0].message.split(". ")[0] if error else "another process says so"


@contextmanager
def _judged(model: Any) -> Iterator[None]:
    """Without dropout, and left as it was found."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
