"""``nwa embed``: reads into Parquet shards of embeddings, by all devices and nodes of a Trainer, or by another executor."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from nwa_lightning.errors import InputError
from nwa_lightning.landmarks.features import warn_of_foreign
from nwa_lightning.progress import counted
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.executors import Executor
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import sha256
from nwa_lightning.search.partition import DONE, Partition, check_finished, read_part, read_partition, split_reads
from nwa_lightning.search.shards import (
    MANIFEST,
    MODEL,
    Manifest,
    Shard,
    count_rows,
    open_shards,
    write_manifest,
    write_shard,
)
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences

#: Folder within the output for the parts of the reads, deleted at the end.
_PARTS: Final = ".parts"

#: Distinct reads that landmarks are fitted to, if there are as many.
_FITTED: Final = 20_000


def embed_shard(
    part: Path,
    target: Path,
    model: Path,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Embed the reads of one part: from file to file, and the same bytes wherever it runs.

    Args:
        part: A part that ``split_reads`` wrote.
        target: The shard to write.
        model: Checkpoint of the model; a process that embeds many parts loads it once.
        device: Where the model runs.
        progress: Called with the number of reads that are done.

    Raises:
        InputError: If a file cannot be read or written.
    """
    embedder = _load_once(model, sha256(model))
    embedder.model.to(device)
    reads = read_part(part, embedder.alphabet)
    embeddings = embedder.embed(reads.sequences, progress)
    write_shard(target, Shard(reads, embeddings), embedder.alphabet, embedder.fingerprint)


@lru_cache(maxsize=1)
def _load_once(model: Path, checksum: str) -> ReadEmbedder:
    """The model of a checkpoint; another content is another model."""
    return ReadEmbedder.from_checkpoint(model)


def embed_reads(
    sources: Sequence[str],
    folder: str | Path,
    checkpoint: str | Path | ReadEmbedder | None = None,
    *,
    landmarks: int = 512,
    alphabet: Alphabet = DNA,
    on_invalid: str = "error",
    trainer: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
) -> None:
    """Embed reads into a folder of shards; the same call continues an interrupted run.

    Copies of a read are embedded once and counted. Every process of the Trainer embeds its own parts of the reads and writes
    their shards, so memory depends on the size of a part, not on the number of reads. An executor writes the same bytes.

    Args:
        sources: Files, or names of built-in or simulated sets.
        folder: Where to write; created if missing. Several nodes need a folder that they share.
        checkpoint: A checkpoint, the name of a pretrained model, or a model; None for landmarks without training.
        landmarks: Number of landmarks, if there is no checkpoint; fewer if there are fewer distinct reads.
        alphabet: Alphabet of the reads, if there is no checkpoint.
        on_invalid: ``"error"`` or ``"drop"``, for reads with letters outside the alphabet.
        trainer: Arguments of the Lightning Trainer, such as ``devices``, ``num_nodes``, ``strategy`` and ``precision``.
        executor: Runs ``embed_shard`` for every part, on CPUs, in place of the Trainer.

    Raises:
        InputError: If the reads or the model cannot be used, the folder holds other embeddings, or cannot be written.
    """
    optional("pyarrow")
    folder = Path(folder)
    data = _Parts(sources, folder, checkpoint, landmarks, alphabet, on_invalid)
    if data.complete():
        print(f"{folder}: complete already; delete the folder to embed again")
        return
    started = time.perf_counter()
    if (trainer or {}).get("num_nodes", 1) == 1:
        rank_zero_only(data.prepare_data)()  # before other processes start: they would print traces of an error
    if executor is not None:
        data.setup("predict")
        warn_of_foreign(data.embedder.model, data.first_reads())
        executor(embed_shard, [data.job(number) for number in data.left], "embedding")
        _report(data.finish(), folder, started)
        return
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    run = Trainer(**{**quiet, "max_epochs": 1, **(trainer or {})})
    run.predict(_Embedding(data), datamodule=data, return_predictions=False)
    run.strategy.barrier()
    if run.is_global_zero:
        _report(data.finish(), folder, started)
    run.strategy.barrier()


def _report(manifest: Manifest, folder: Path, started: float) -> None:
    seconds = time.perf_counter() - started
    print(
        f"written: {manifest.reads:,} reads, {manifest.distinct:,} of them distinct, to {len(manifest.shards)} shards in "
        f"{folder}; {seconds:.1f} s, {manifest.reads / seconds:,.0f} reads/s"
    )


class _Parts(LightningDataModule):
    """Numbers of the parts that are still to do; the first process splits the reads before."""

    def __init__(
        self,
        sources: Sequence[str],
        folder: Path,
        checkpoint: str | Path | ReadEmbedder | None,
        landmarks: int,
        alphabet: Alphabet,
        on_invalid: str,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False
        self.sources = list(sources)
        self.folder = folder
        self.parts = folder / _PARTS
        self.landmarks = landmarks
        self.on_invalid = on_invalid
        self.given = ReadEmbedder.from_checkpoint(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
        self.alphabet = alphabet if self.given is None else self.given.alphabet
        model = {"landmarks": str(landmarks)} if self.given is None else {"model": self.given.fingerprint[:12]}
        self.settings = {**model, "alphabet": self.alphabet.name, "on_invalid": on_invalid}

    def complete(self) -> bool:
        """Whether every shard is there and undamaged; damaged ones are deleted, to be made again.

        Raises:
            InputError: If the folder holds embeddings of other reads, of another model or by other options.
        """
        if not (self.folder / MANIFEST).exists():
            return False
        shards = open_shards(self.folder)
        made = shards.manifest.settings or self.settings
        if self.given is not None and self.given.fingerprint == shards.manifest.model:
            made = {**self.settings, "on_invalid": made.get("on_invalid", "")}  # also if it was made with landmarks
        check_finished(self.folder, self.sources, shards.manifest.source, self.settings, made)
        damaged = [number for number in range(len(shards)) if not shards.good(number)]
        if damaged and any("added" in record for record in shards.manifest.shards):
            raise InputError(
                f"{self.folder}: expected undamaged shards, for reads were added to them, which cannot be told apart now, found "
                f"{len(damaged)} damaged or missing; embed all reads again, into another folder"
            )
        for number in damaged:
            shards.path(number).unlink(missing_ok=True)
        return not damaged

    def prepare_data(self) -> None:
        """Split the reads, and save the model beside them."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {self.folder}: {error.strerror}; name a folder that can be written") from None
        partition = split_reads(
            self.sources,
            self.parts,
            alphabet=self.alphabet,
            max_length=None if self.given is None or self.given.any_length else self.given.max_length,
            on_invalid=self.on_invalid,
            settings=self.settings.values(),
        )
        if not (self.folder / MODEL).exists():
            (self.given or self._fitted(partition)).save(self.folder / MODEL)

    def _fitted(self, partition: Partition) -> ReadEmbedder:
        """Landmarks from the first parts, each of which is a random sample; long enough for the longest read."""
        longest, strings = 0, list[str]()
        for number in range(partition.parts):
            reads = read_part(partition.path(self.parts, number), self.alphabet)
            longest = max(longest, reads.sequences.max_length)
            left = _FITTED - len(strings)
            strings += reads.sequences.take(np.arange(max(0, min(len(reads), left)))).to_strings(self.alphabet)
        sample = Sequences.from_strings(strings, self.alphabet)
        return ReadEmbedder.from_landmarks(sample, self.landmarks, alphabet=self.alphabet, max_length=longest)

    def setup(self, stage: str) -> None:
        """Every process loads the saved model and finds what is left to do."""
        self.embedder = ReadEmbedder.from_checkpoint(self.folder / MODEL)
        partition = read_partition(self.parts)
        if partition is None:
            raise InputError(
                f"{self.parts}: expected the parts of the first process, found none; name a folder that all nodes share"
            )
        self.partition = partition
        self.left = [number for number in range(partition.parts) if not self.shard(number).exists()]

    def shard(self, number: int) -> Path:
        """Path of a shard."""
        return self.folder / f"{number:05d}.parquet"

    def first_reads(self) -> Sequences:
        """The reads of the first part, a sample of all."""
        return read_part(self.partition.path(self.parts, 0), self.alphabet).sequences

    def job(self, number: int) -> dict[str, Any]:
        """Arguments of ``embed_shard`` for a part."""
        part = self.partition.path(self.parts, number)
        return {"part": part, "target": self.shard(number), "model": self.folder / MODEL}

    def predict_dataloader(self) -> DataLoader[Any]:
        """Numbers of the parts; Lightning gives each process its own, and needs at least one for each: -1 is nothing to do."""
        processes = 1 if self.trainer is None else self.trainer.world_size
        numbers = [*self.left, *[-1] * (processes - len(self.left))]
        return DataLoader(numbers, batch_size=None)  # type: ignore[arg-type]

    def finish(self) -> Manifest:
        """Write the manifest and delete the parts."""
        if self.partition.dropped:
            print(f"left out: {self.partition.dropped:,} reads with letters outside {self.alphabet.letters}")
        shards: list[dict[str, Any]] = []
        for path in map(self.shard, range(self.partition.parts)):
            rows = count_rows(path, self.embedder.fingerprint)
            shards.append({"file": path.name, "rows": rows, "sha256": sha256(path)})
        manifest = Manifest(
            self.embedder.fingerprint,
            self.embedder.dim,
            self.alphabet.name,
            self.partition.source,
            self.partition.reads,
            sum(record["rows"] for record in shards),
            shards,
            settings=self.settings,
        )
        write_manifest(self.folder, manifest)
        (self.parts / DONE).unlink(missing_ok=True)  # first, so that parts of which some are deleted are not used again
        shutil.rmtree(self.parts, ignore_errors=True)
        return manifest


class _Embedding(LightningModule):
    """Embeds one part in a step."""

    def __init__(self, data: _Parts) -> None:
        super().__init__()
        self.data = data

    def on_predict_start(self) -> None:
        """Say whether the reads are like those that the model was trained on."""
        if self.trainer.is_global_zero:
            warn_of_foreign(self.data.embedder.model, self.data.first_reads())

    def predict_step(self, number: Any, batch_idx: int) -> Tensor:
        """Embed a part and write its shard."""
        if number < 0:
            return torch.empty(0)  # Lightning warns about None
        job = self.data.job(int(number))
        rows = job["part"].read_bytes().count(b"\n")
        total, done = len(self.data.left), batch_idx * self.trainer.world_size
        what = f"part {done + 1} of {total}"
        with counted(what, rows, worth=self.trainer.is_global_zero, unit="reads") as progress:
            embed_shard(**job, device=self.device, progress=progress)
        return torch.empty(0)
