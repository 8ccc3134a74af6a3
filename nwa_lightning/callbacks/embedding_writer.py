"""Embeddings on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.errors import InputError


class EmbeddingWriter(BasePredictionWriter):
    """Writes what ``predict`` finds: ``embeddings.npy``, ``(N, m)`` float32, and ``names.txt``, one name a line.

    Rows are in the order of the file, whatever the number of processes.

    Args:
        folder: Where to write; made if missing.
    """

    def __init__(self, folder: str = "embeddings") -> None:
        super().__init__(write_interval="epoch")
        self.folder = Path(folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder before the work, so that nothing is computed for a place that cannot be written."""
        super().setup(trainer, pl_module, stage)
        if stage == "predict":
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{self.folder}: {error.strerror}; name a folder that can be written") from None

    def write_on_epoch_end(
        self, trainer: Trainer, pl_module: LightningModule, predictions: Sequence[Any], batch_indices: Sequence[Any]
    ) -> None:
        """Gather the batches of all processes and write them once."""
        data: NWADataModule = trainer.datamodule  # type: ignore[attr-defined]
        shares: list[list[Tensor]] = [[batch.float().cpu() for batch in predictions]]
        if trainer.world_size > 1:
            shares = shares * trainer.world_size
            torch.distributed.all_gather_object(shares, shares[0])
        if trainer.is_global_zero:
            # Batch number s * world_size + r is step s of rank r.
            embeddings = torch.cat([batch for step in zip(*shares, strict=True) for batch in step])
            np.save(self.folder / "embeddings.npy", embeddings.numpy())
            (self.folder / "names.txt").write_text("".join(f"{name}\n" for name in data.sequences.names))
            print(f"written: {len(embeddings)} embeddings to {self.folder / 'embeddings.npy'}, names to names.txt")
