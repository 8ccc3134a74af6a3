"""A partly frozen BERT with its own tokenizer and dict batches learns labels: python examples/hugging_face.py.

It is built from a configuration, so nothing is downloaded. One argument of the trainer, which is marked, adds NWA: on the pooled
embedding, or with ``--features`` on the states of the tokens.
"""

import argparse

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from printing import PrintDivergence
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from nwa_lightning import NWACallback, load_sequences, pair_batch

VOCABULARY = {token: number for number, token in enumerate(["[PAD]", "[UNK]", "[SEP]", *"ACGT"])}
SPLIT = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
SPLIT.pre_tokenizer = pre_tokenizers.Split("", "isolated")
TOKENIZER = PreTrainedTokenizerFast(tokenizer_object=SPLIT, pad_token="[PAD]", sep_token="[SEP]")


def collate(samples):
    """The output of the tokenizer, the labels, and the strings."""
    reads, labels = zip(*samples, strict=True)
    batch = TOKENIZER([f"[SEP]{read}" for read in reads], padding=True, return_tensors="pt")
    return {"inputs": {**batch, "labels": torch.tensor(labels)}, "reads": reads}


class Fine(LightningModule):
    """Fine-tunes all layers except the embeddings of the letters and the first layer."""

    def __init__(self) -> None:
        super().__init__()
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
        self.model = BertForSequenceClassification(BertConfig(vocab_size=len(VOCABULARY), num_labels=100, **sizes))
        for part in (self.model.bert.embeddings, self.model.bert.encoder.layer[0]):
            part.requires_grad_(False)

    def training_step(self, batch, batch_idx):
        return self.model(**batch["inputs"]).loss

    def configure_optimizers(self):
        return torch.optim.AdamW([value for value in self.parameters() if value.requires_grad], lr=1e-3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--features", action="store_true", help="draw the maps from the states of the tokens")
    steps, features = vars(parser.parse_args()).values()
    seed_everything(0)
    found = load_sequences("storage:1000x60")
    samples = list(zip(found.to_strings(), (row // 10 for row in range(len(found))), strict=True))
    where = {"features": "model.bert.encoder"} if features else {"encoder": "model.bert"}
    nwa = NWACallback(batch=lambda batch: pair_batch(list(batch["reads"])), max_length=80, **where)  # NWA
    options = {"logger": False, "enable_checkpointing": False, "callbacks": [nwa, PrintDivergence()]}
    loader = DataLoader(samples, 32, shuffle=True, collate_fn=collate)
    Trainer(max_steps=steps, max_epochs=-1, **options).fit(Fine(), loader)
