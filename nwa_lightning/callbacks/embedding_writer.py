"""Embeddings on disk, written batch by batch."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from numpy.typing import NDArray

from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.errors import InputError

#: Little-endian float32 on every machine.
_FLOAT: Final = np.dtype("<f4")


class EmbeddingWriter(BasePredictionWriter):
    """Writes the embeddings of ``predict``: ``embeddings.npy``, ``(N, m)`` float32, and ``names.txt``, one name per line.

    Rows are in the order of the input file, for any number of processes. All processes write their batches directly into
    one file, so memory does not grow with N. With several nodes, ``folder`` must be one that all of them share.

    Both files get their final names at the very end. An interrupted run leaves ``embeddings.npy.part``, and the files of an
    earlier run stay unchanged. With ``limit_predict_batches`` or ``fast_dev_run``, N is the number of sequences that were
    embedded, the first ones of the input. A line break within a name is written as a space.

    In Python, call ``trainer.predict(model, datamodule=data, return_predictions=False)``: by default, Lightning also keeps
    all embeddings in memory and returns those of its own process.

    Args:
        folder: Where to write; created if missing.
    """

    def __init__(self, folder: str = "embeddings") -> None:
        super().__init__(write_interval="batch")
        self.folder = Path(folder)
        self._part = self.folder / "embeddings.npy.part"
        self._total = self._written = self._begin = self._width = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder and begin the file, so that a folder that cannot be written is found before any work is done.

        Raises:
            InputError: If the folder cannot be written, or the data is not an ``NWADataModule``.
        """
        super().setup(trainer, pl_module, stage)
        if stage != "predict":
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, NWADataModule):
            raise InputError(
                f"EmbeddingWriter: expected an NWADataModule, found {'none' if data is None else type(data).__name__}; call "
                f"trainer.predict(model, datamodule=NWADataModule(...)) or leave out EmbeddingWriter"
            )
        with self._errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            if trainer.is_global_zero:
                self._part.write_bytes(b"")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the rows of a batch.

        Raises:
            InputError: If the prediction is not one embedding for each sequence, or cannot be written.
        """
        data: NWADataModule = trainer.datamodule  # type: ignore[attr-defined]
        count, size = len(data.sequences), data.test_group
        # Step s of rank r has batch number s * world_size + r; numbers past the end have no rows.
        number = batch_idx * trainer.world_size + trainer.global_rank
        start = min(number * size, count)
        rows = _checked_rows(prediction, min(size, count - start))
        if batch_idx == 0:
            batches = trainer.num_predict_batches[0] * trainer.world_size
            self._total = int(min(batches * size, count))
            self._written = 0
            self._make_file(trainer, rows.shape[1])
        if rows.shape[1] != self._width:
            raise InputError(
                f"predict_step: expected {self._width} numbers for each sequence, as in the first batch, found "
                f"{rows.shape[1]} in batch {number}; return embeddings of one size"
            )
        with self._errors(), self._part.open("r+b") as file:
            file.seek(self._begin + start * self._width * _FLOAT.itemsize)
            file.write(rows.data)
        self._written += len(rows)

    def _make_file(self, trainer: Trainer, width: int) -> None:
        """Rank zero writes the header and sets the full size; then every rank reads where its rows go."""
        if trainer.is_global_zero:
            size = self._total * width * _FLOAT.itemsize
            with self._errors(), self._part.open("wb") as file:
                if shutil.disk_usage(self.folder).free < size:  # the size alone reserves no space
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                header = {"descr": _FLOAT.str, "fortran_order": False, "shape": (self._total, width)}
                np.lib.format.write_array_header_1_0(file, header)
                file.truncate(file.tell() + size)
        trainer.strategy.barrier()
        with self._errors(), self._part.open("rb") as file:
            np.lib.format.read_magic(file)
            (_, self._width), _, _ = np.lib.format.read_array_header_1_0(file)
            self._begin = file.tell()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the names and rename both files, once all processes have written their rows.

        Raises:
            InputError: If rows are missing, or the files cannot be written.
        """
        written = int(trainer.strategy.reduce(torch.tensor(self._written, device=pl_module.device), reduce_op="sum"))
        if trainer.is_global_zero:
            if written != self._total:
                raise InputError(
                    f"{self._part}: expected {self._total} embeddings, found {written}; were batches left out? predict again"
                )
            data: NWADataModule = trainer.datamodule  # type: ignore[attr-defined]
            names, names_part = self.folder / "names.txt", self.folder / "names.txt.part"
            with self._errors():
                with names_part.open("wb") as file:
                    for name in islice(data.sequences.labels, self._total):
                        file.write(name.replace(b"\n", b" ") + b"\n")
                os.replace(names_part, names)
                os.replace(self._part, self.folder / "embeddings.npy")
            print(f"written: {written} embeddings to {self.folder / 'embeddings.npy'}, names to names.txt")
        trainer.strategy.barrier()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn an error of the disk into a message of one line."""
        try:
            yield
        except FileNotFoundError:
            raise InputError(
                f"{self._part}: expected the file that the first process made, found none; name a folder that all processes "
                f"and nodes share (--embeddings.folder), and let no other run write into it"
            ) from None
        except OSError as error:
            raise InputError(
                f"{self.folder}: expected a folder that can be written, with space for the embeddings, found: "
                f"{error.strerror}; free some space or name another folder (--embeddings.folder)"
            ) from None


def _checked_rows(prediction: Any, count: int) -> NDArray[np.float32]:
    """``(count, m)`` numbers of a prediction, in the type of the file."""
    if torch.is_tensor(prediction) and prediction.is_floating_point():
        if prediction.ndim == 2 and len(prediction) == count:
            return np.ascontiguousarray(prediction.detach().float().cpu().numpy(), dtype=_FLOAT)
        found = f"a tensor of shape {tuple(prediction.shape)}"
    elif torch.is_tensor(prediction):
        found = f"a tensor of {prediction.dtype}"
    else:
        found = "None" if prediction is None else type(prediction).__name__
    raise InputError(
        f"predict_step: expected one tensor of floats, (U, m), with a row for each of the {count} sequences of the batch, found "
        f"{found}; return the embeddings alone"
    )
