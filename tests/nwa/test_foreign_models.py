"""LightningModules in other people's styles, with NWA by inheritance and by the callback."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn
from torch.nn.functional import mse_loss, one_hot, pad

from nwa_lightning import NWACallback, NWADataModule, NWAMixin

LENGTH, DIM = 32, 16


def letters(tokens):
    return one_hot(pad(tokens, (0, LENGTH + 1 - tokens.shape[1])), 6).float().flatten(1)


def encoder():
    return nn.Linear(6 * (LENGTH + 1), DIM)


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = encoder()
        self.project = nn.Linear(DIM, DIM)

    def forward(self, tokens):
        return self.project(self.embed(letters(tokens)))


class Siamese(LightningModule):
    """Nested encoder, called twice a step; training_step takes the batch alone."""

    def __init__(self):
        super().__init__()
        self.net = nn.ModuleDict({"tower": Tower()})

    def training_step(self, batch):
        one, two = self.net["tower"](batch.left), self.net["tower"](batch.right)
        return mse_loss((one - two).norm(dim=1), batch.distance / LENGTH)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class Boring(BoringModel):
    """Lightning's own demo model, with its step, its dict of a loss, its SGD and its scheduler."""

    def __init__(self):
        super().__init__()
        self.layer = encoder()

    def forward(self, batch):
        return self.layer(letters(batch.tokens))


class ConfiguresModel(LightningModule):
    """Builds its layers in configure_model, as large models do."""

    def __init__(self):
        super().__init__()
        self.encoder = None

    def configure_model(self):
        if self.encoder is None:
            self.encoder = encoder()

    def training_step(self, batch, batch_idx):
        one, two = self.encoder(letters(batch.tokens))[batch.pairs].unbind(1)
        loss = mse_loss((one - two).norm(dim=1), batch.distance / LENGTH)
        return {"loss": loss, "embeddings": one.detach()}

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class PartlyFrozen(LightningModule):
    """A pretrained Transformer whose letters and first layer stay as they are, in the manner of fine-tuning."""

    def __init__(self):
        super().__init__()
        self.letters = nn.Embedding(6, DIM)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(DIM, 2, 32, batch_first=True, dropout=0.1) for _ in range(2)
        )
        self.pool = nn.Linear(DIM, DIM)
        for part in (self.letters, self.layers[0]):
            part.requires_grad_(False)

    def forward(self, tokens):
        hidden = self.letters(tokens)
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=tokens == 0)
        inside = (tokens != 0)[..., None]
        return self.pool((hidden * inside).sum(1) / inside.sum(1))

    def training_step(self, batch, batch_idx):
        one, two = self(batch.tokens)[batch.pairs].unbind(1)
        return mse_loss((one - two).norm(dim=1), batch.distance / LENGTH)

    def configure_optimizers(self):
        return torch.optim.AdamW([value for value in self.parameters() if value.requires_grad], lr=1e-3)


class TwoOptimizers(LightningModule):
    """Manual optimization with two optimizers."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.encoder = encoder()
        self.scale = nn.Parameter(torch.ones(()))

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        embeddings = self.encoder(letters(batch.tokens))
        one, two = embeddings[batch.pairs].unbind(1)
        loss = mse_loss(self.scale * (one - two).norm(dim=1), batch.distance / LENGTH)
        first.zero_grad()
        second.zero_grad()
        self.manual_backward(loss + self.extra(embeddings, batch))
        first.step()
        second.step()

    def extra(self, embeddings, batch):
        return 0.0

    def configure_optimizers(self):
        others = [value for name, value in self.named_parameters() if name != "scale"]
        return torch.optim.Adam(others), torch.optim.SGD([self.scale], lr=0.1)


def fit(model, reads, *callbacks, steps=6):
    trainer = Trainer(
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=list(callbacks),
    )
    trainer.fit(model, NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, train_size=64))
    return trainer


FOREIGN = [(Siamese, "net.tower"), (Boring, "layer"), (ConfiguresModel, "encoder"), (PartlyFrozen, "pool")]
#: Their encoder gets one-hot letters or hidden vectors, so a step that encodes each sequence once has to say so.
NOT_TOKENS = (Boring, ConfiguresModel, PartlyFrozen)


def same_batch(self, batch):
    return batch


@pytest.mark.parametrize(("foreign", "name"), FOREIGN)
def test_by_inheritance(foreign, name, reads):
    torch.manual_seed(0)
    own = {"nwa_batch": same_batch} if foreign in NOT_TOKENS else {}
    mixed = type("Mixed", (NWAMixin, foreign), own)(
        nwa_embedding_dim=DIM, nwa_max_length=LENGTH, nwa_weight=1e-2, nwa_encoder=name
    )
    before = mixed.nwa.head.merge.clone()
    trainer = fit(mixed, reads)
    assert 0 < trainer.callback_metrics["train/nwa_loss"] < LENGTH + 1
    assert not torch.equal(mixed.nwa.head.merge, before)
    encoder_weights = mixed.encoder_state_dict()
    assert list(encoder_weights) == [key for key in mixed.state_dict() if not key.startswith("nwa.")] != []


@pytest.mark.parametrize(("foreign", "name"), FOREIGN)
def test_by_the_callback(foreign, name, reads):
    torch.manual_seed(0)
    model = foreign()
    nwa = NWACallback(name, DIM, LENGTH, weight=1e-2, batch=(lambda batch: batch) if foreign in NOT_TOKENS else None)
    trainer = fit(model, reads, nwa)
    assert 0 < trainer.callback_metrics["train/nwa_loss"] < LENGTH + 1
    assert not [key for key in model.state_dict() if key.startswith("nwa.")]


@pytest.mark.parametrize(("foreign", "name"), FOREIGN)
def test_an_encoder_whose_input_is_no_tokens_says_so(foreign, name, reads):
    if foreign not in NOT_TOKENS:
        fit(foreign(), reads, NWACallback(name, DIM, LENGTH), steps=1)
        return
    message = (
        f"Expected {name} to be called with rows of batch.tokens.*override nwa_batch.*pass batch=.* the batch itself"
    )
    with pytest.raises(RuntimeError, match=message):
        fit(foreign(), reads, NWACallback(name, DIM, LENGTH))
    mixed = type("Mixed", (NWAMixin, foreign), {})(nwa_embedding_dim=DIM, nwa_max_length=LENGTH, nwa_encoder=name)
    with pytest.raises(RuntimeError, match=message):
        fit(mixed, reads)


def test_what_is_frozen_stays_frozen(reads):
    torch.manual_seed(0)
    model = PartlyFrozen()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    callback = NWACallback("pool", DIM, LENGTH, weight=1e-2, batch=lambda batch: batch)
    # The head is added before the optimizer is made, so a choice by requires_grad sees it; a list made earlier does not.
    chosen = [value for value in model.parameters() if value.requires_grad]
    model.configure_optimizers = lambda: torch.optim.AdamW(chosen)
    with pytest.raises(RuntimeError, match="are in none"):
        fit(model, reads, callback)
    del model.configure_optimizers
    fit(model, reads, callback)
    after = model.state_dict()
    frozen = [key for key in after if key.startswith(("letters", "layers.0"))]
    assert all(torch.equal(before[key], after[key]) for key in frozen)
    assert not torch.equal(before["pool.weight"], after["pool.weight"])


def test_manual_optimization_with_two_optimizers(reads):
    class WithNWA(NWAMixin, TwoOptimizers):
        def extra(self, embeddings, batch):
            return self.nwa_loss(embeddings, batch)

    model = WithNWA(nwa_embedding_dim=DIM, nwa_max_length=LENGTH, nwa_weight=1e-2)
    before = model.nwa.head.merge.clone()
    fit(model, reads, steps=12)
    assert not torch.equal(model.nwa.head.merge, before)

    class Forgets(NWAMixin, TwoOptimizers):
        pass

    with pytest.raises(RuntimeError, match=r"call self\.nwa_loss\(embeddings, batch\) before manual_backward"):
        fit(Forgets(nwa_embedding_dim=DIM, nwa_max_length=LENGTH), reads)
    with pytest.raises(RuntimeError, match="use NWAMixin and call"):
        fit(TwoOptimizers(), reads, NWACallback("encoder", DIM, LENGTH))


def test_a_bert_of_hugging_face(reads):
    transformers = pytest.importorskip("transformers")

    class Bert(LightningModule):
        def __init__(self):
            super().__init__()
            config = transformers.BertConfig(
                vocab_size=6,
                hidden_size=DIM,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
            )
            self.bert = transformers.BertModel(config)
            self.bert.embeddings.requires_grad_(False)

        def training_step(self, batch, batch_idx):
            mask = (batch.tokens != 0).long()
            one, two = self.bert(batch.tokens, attention_mask=mask).pooler_output[batch.pairs].unbind(1)
            return mse_loss((one - two).norm(dim=1), batch.distance / LENGTH)

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    found = []
    for encoder, batch in (("bert", None), ("bert.pooler", lambda batch: batch)):
        torch.manual_seed(0)
        trainer = fit(Bert(), reads, NWACallback(encoder, DIM, LENGTH, weight=1e-2, batch=batch))
        found.append(trainer.callback_metrics["train/nwa_loss"])
    assert 0 < found[0] < LENGTH + 1
    assert found[0] == found[1]
    message = (
        r"bert.encoder to return one tensor of embeddings, \(rows, m\), .*\(16, \d+, 16\).*override nwa_embeddings"
    )
    with pytest.raises(TypeError, match=message):
        fit(Bert(), reads, NWACallback("bert.encoder", DIM, LENGTH))
