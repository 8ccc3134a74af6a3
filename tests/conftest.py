import os
import shutil
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many tests as cores run at once; before torch reads it

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from nwa_lightning import NWADataModule
from nwa_lightning.cli.main import main


@pytest.fixture(scope="session")
def reads(tmp_path_factory):
    """A file of 120 random reads of 20 to 32 bases."""
    generator = torch.Generator().manual_seed(0)
    lines = []
    for length in torch.randint(20, 33, (120,), generator=generator).tolist():
        letters = torch.randint(0, 4, (length,), generator=generator).tolist()
        lines.append("".join("ACGT"[letter] for letter in letters))
    path = tmp_path_factory.mktemp("reads") / "reads.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def proteins(tmp_path_factory):
    """A file of 80 proteins of 24 to 36 amino acids, in four families."""
    generator = np.random.default_rng(0)
    letters = list("ACDEFGHIKLMNPQRSTVWY")
    families = generator.choice(letters, (4, 36))
    records = []
    for row in range(80):
        protein = np.where(generator.random(36) < 0.02 * (row % 20), generator.choice(letters, 36), families[row % 4])
        records.append(f">p{row}\n{''.join(protein[: generator.integers(24, 37)])}\n")
    path = tmp_path_factory.mktemp("proteins") / "proteins.fasta"
    path.write_text("".join(records))
    return path


@pytest.fixture
def data(reads):
    return NWADataModule(str(reads), batch_size=16, nwa_batch_size=6, val_group=10, test_group=10)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # main adds the current folder
    return tmp_path


@pytest.fixture
def folder(trained, here):
    """A copy of the folder of a module's own fixture ``trained``, to work in."""
    shutil.copytree(trained, here, dirs_exist_ok=True)
    return here


@pytest.fixture
def refused(capsys):
    """Run a command that must end in one line and status 2; gives the line."""

    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in args])
        assert stop.value.code == 2
        shown = capsys.readouterr().err.strip().splitlines()
        assert not [line for line in shown if "Traceback" in line or "usage:" in line]
        errors = [line for line in shown if line.startswith("nwa: error: ")]
        assert errors == shown[-1:]
        assert len(errors[0]) < 500
        return errors[0].removeprefix("nwa: error: ")

    return run


class Theirs(LightningModule):
    """A model as somebody else would write it; it knows nothing of this package but the batch."""

    def __init__(self, max_length=32, both_sides=False, as_dict=False):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Embedding(6, 8, padding_idx=0), Pad(max_length), nn.Linear(8 * (max_length + 1), 16)
        )
        self.both_sides = both_sides
        self.as_dict = as_dict
        self.max_length = max_length

    def training_step(self, batch, batch_idx):
        if self.both_sides:
            one, two = self.encoder(batch.left), self.encoder(batch.right)
        else:
            one, two = self.encoder(batch.tokens)[batch.pairs].unbind(1)
        loss = ((one - two).norm(dim=1) - batch.distance / self.max_length).square().mean()
        return {"loss": loss, "size": len(one)} if self.as_dict else loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Pad(nn.Module):
    """Flattens (U, L, channels) after padding L to the longest possible."""

    def __init__(self, max_length):
        super().__init__()
        self.size = max_length + 1

    def forward(self, letters):
        return nn.functional.pad(letters, (0, 0, 0, self.size - letters.shape[1])).flatten(1)


@pytest.fixture
def theirs():
    return Theirs
