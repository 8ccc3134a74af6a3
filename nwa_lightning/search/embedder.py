"""ReadEmbedder: a trained model, or landmarks without training, that maps reads to vectors."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from lightning import __version__ as lightning_version
from lightning.pytorch import LightningModule
from numpy.typing import NDArray
from torch import Tensor, nn

from nwa_lightning.data.batch import PairBatch
from nwa_lightning.data.datasets import SingleSequences
from nwa_lightning.data.targets import check_predicts_edits
from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.landmark_mds import LandmarkMDS
from nwa_lightning.errors import InputError, one_line
from nwa_lightning.models.checkpoint import read_checkpoint
from nwa_lightning.models.distances import EmbeddingDistance
from nwa_lightning.models.pretrained import PRETRAINED, load_pretrained
from nwa_lightning.parts import build_part, import_class
from nwa_lightning.search.files import replaced
from nwa_lightning.sequences.alphabet import DNA, Alphabet, as_alphabet
from nwa_lightning.sequences.collection import Sequences

if TYPE_CHECKING:
    from typing_extensions import Self

#: Sequences per batch. A fixed number, for the last bits of a vector may depend on it.
BATCH: Final = 512


class ReadEmbedder:
    """Embeds reads; its vectors are meant for Euclidean distance, whose order is that of the model's own distance.

    Args:
        model: An ``Encoder``, or a LightningModule whose ``predict_step`` returns ``(U, m)`` embeddings of a ``PairBatch``.
        max_length: The most bases of a read; None takes it from the model or its encoder.
        alphabet: Alphabet of the reads.
        fixed_width: Whether the model needs batches that are padded to ``max_length``.

    Raises:
        InputError: If the longest length is unknown.

    Example:
        >>> embedder = ReadEmbedder(load_pretrained("human16s-v4"))
        >>> embedder.embed(Sequences.from_strings(["TACGGAGGAT", "TACGGAGCAT"])).shape
        (2, 128)
    """

    def __init__(
        self,
        model: Encoder | LightningModule,
        max_length: int | None = None,
        alphabet: Alphabet = DNA,
        *,
        fixed_width: bool = False,
    ) -> None:
        encoder = model if isinstance(model, Encoder) else getattr(model, "encoder", model)
        found = max_length or getattr(encoder, "max_length", None)
        if not isinstance(found, int):
            raise InputError(
                f"max_length: expected a number, for {type(model).__name__} does not say for how many bases it was built, "
                f"found none; give it"
            )
        self.model = model.eval()
        self.max_length = found
        self.alphabet = alphabet
        self.fixed_width = fixed_width
        self.any_length = not fixed_width and bool(getattr(encoder, "any_length", False))

    @classmethod
    def from_checkpoint(cls, checkpoint: str | Path) -> Self:
        """The model of a checkpoint, on the CPU; loading it runs no code but the model's own class.

        Args:
            checkpoint: Path of a checkpoint of ``nwa fit`` or of ``save``, or the name of a pretrained model.

        Raises:
            InputError: If it cannot be used.
        """
        path = Path(checkpoint)
        saved = read_checkpoint(path)
        known = saved.get("NWADataModule", {}).get("trained_on", {})
        arguments = known.get("arguments", {})
        alphabet = as_alphabet(arguments.get("alphabet", DNA))
        width = bool(known.get("batches", {}).get("fixed_width", False))
        if str(checkpoint) in PRETRAINED and not path.exists():
            model: Any = load_pretrained(str(checkpoint))
        else:
            model = _load_model(saved, known.get("model"), path)
        return cls(model, arguments.get("max_length"), alphabet, fixed_width=width)

    @classmethod
    def from_landmarks(
        cls,
        sequences: Sequences,
        count: int = 512,
        dim: int = 128,
        *,
        alphabet: Alphabet = DNA,
        max_length: int | None = None,
    ) -> Self:
        """``LandmarkMDS``, fitted to some of the reads: no training, a second or two.

        Args:
            sequences: Reads to which it is fitted; better a random part than the first reads of a file.
            count: K, number of landmarks; fewer if there are fewer distinct reads.
            dim: m, the most dimensions of the embeddings.
            alphabet: Alphabet of the reads.
            max_length: The most bases of a read; None takes the longest of ``sequences``.

        Raises:
            InputError: If a number is too small.
        """
        distinct = sequences.unique()
        count = min(count, len(distinct))
        encoder = LandmarkMDS(max_length or sequences.max_length, dim, vocabulary=alphabet.size, count=count)
        return cls(encoder.fit(distinct), alphabet=alphabet)

    @property
    def distance(self) -> EmbeddingDistance | None:
        """The model's distance, if it has one."""
        found = getattr(self.model, "distance", None)
        return found if isinstance(found, EmbeddingDistance) else None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next((tensor.device for tensor in self.model.state_dict().values()), torch.device("cpu"))

    def check(self, sequences: Sequences, source: object = "reads") -> None:
        """Make sure that no read is too long for the model; ``Encoder.any_length`` says which models embed any read.

        Raises:
            InputError: If one is.
        """
        longer = np.flatnonzero(sequences.lengths > self.max_length)
        if len(longer) and not self.any_length:
            name = sequences.labels[int(longer[0])].decode()
            raise InputError(
                f"{source}: expected at most {self.max_length} bases, for which the model was built, found "
                f"{sequences.lengths[longer[0]]} in {name} ({len(longer):,} such reads); cut them or train on longer reads"
            )

    def batches(self, sequences: Sequences) -> Iterator[PairBatch]:
        """The batches in which ``embed`` embeds the reads, without pairs."""
        loader = SingleSequences(sequences, BATCH, self.max_length if self.fixed_width else None)
        for number in range(len(loader)):
            yield loader[number]

    def embed_batch(self, batch: PairBatch) -> Tensor:
        """``(U, m)`` vectors of one batch.

        Raises:
            InputError: If the model returns something else.
        """
        model = self.model
        found = model.predict_step(batch, 0) if isinstance(model, LightningModule) else model(batch.tokens)
        rows = len(batch.tokens)
        if not (torch.is_tensor(found) and found.is_floating_point() and found.ndim == 2 and len(found) == rows):
            shown = f"a tensor of shape {tuple(found.shape)}" if torch.is_tensor(found) else type(found).__name__
            raise InputError(
                f"predict_step: expected one tensor of floats, (U, m), with a row for each of the {rows} reads of the batch, "
                f"found {shown}; return the embeddings alone"
            )
        found = found.float()
        return found if self.distance is None else self.distance.search_space(found)

    def embed(self, sequences: Sequences, progress: Callable[[int], None] | None = None) -> NDArray[np.float32]:
        """Embed reads.

        Args:
            sequences: N reads.
            progress: Called with the number of reads that are done.

        Returns:
            ``(N, m)`` vectors.

        Raises:
            InputError: If a read is too long.
        """
        self.check(sequences)
        device = self.device
        rows = []
        with torch.inference_mode():
            for batch in self.batches(sequences):
                rows.append(self.embed_batch(_moved(batch, device)).cpu().numpy())
                if progress is not None:
                    progress(min(len(rows) * BATCH, len(sequences)))
        return np.concatenate(rows) if rows else np.empty((0, self.dim), dtype=np.float32)

    @cached_property
    def dim(self) -> int:
        """m, dimension of the vectors."""
        one = Sequences.from_strings([self.alphabet.letters[0]], self.alphabet)
        return int(self.embed(one).shape[1])

    def predicted_edits(self, first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(A, B)`` edits that the model predicts of ``(A, m)`` and ``(B, m)`` vectors; without a distance, Euclidean ones."""
        check_predicts_edits(self.model)
        one, two = torch.from_numpy(first), torch.from_numpy(second)
        with torch.inference_mode():
            if self.distance is not None:
                scale = getattr(self.model, "target_scale", self.max_length)
                found = scale * self.distance.cpu().all_pairs(one, two)
            else:
                power = self.model.power.item() if isinstance(self.model, LandmarkMDS) else 1
                found = torch.cdist(one, two).pow(power)
        return found.numpy()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the class, the encoder's arguments and the weights of the model: equal for models that embed alike."""
        state = self.model.state_dict()
        # Some arguments leave no trace in the weights.
        spec = getattr(getattr(self.model, "encoder", self.model), "spec", None)
        known = [_class_path(self.model), spec, self.max_length, self.alphabet.name]
        digest = hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode())
        for name in sorted(state):
            digest.update(name.encode())
            digest.update(_bytes_of(state[name]))
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the model for ``from_checkpoint``: weights and plain values, no state of a training.

        Raises:
            InputError: If the file cannot be written.
        """
        if isinstance(self.model, LightningModule):
            arguments = dict(self.model.hparams)
        else:
            arguments = dict((self.model.spec or {}).get("init_args", {}))
        record = {
            "pytorch-lightning_version": lightning_version,
            "state_dict": self.model.state_dict(),
            "hyper_parameters": arguments,
            "NWADataModule": {
                "trained_on": {
                    "model": _class_path(self.model),
                    "arguments": {"alphabet": self.alphabet.name, "max_length": self.max_length},
                    "batches": {"fixed_width": self.fixed_width},
                }
            },
        }
        content = io.BytesIO()  # in a file, the archive would hold the file's name
        torch.save(record, content)
        with replaced(path) as part:
            part.write_bytes(content.getvalue())


def _load_model(saved: dict[str, Any], trained: str | None, path: Path) -> nn.Module:
    class_path = saved.get("hyper_parameters", {}).get("_class_path") or trained
    if class_path is None:
        raise InputError(
            f"{path}: expected a checkpoint that names its model, found none; train with `nwa fit` or an NWADataModule, or pass "
            f"the model in Python: ReadEmbedder(model)"
        )
    found: Any = import_class(str(class_path), path)
    try:
        if issubclass(found, Encoder):
            encoder = build_part({"class_path": class_path, "init_args": saved["hyper_parameters"]}, Encoder, path)
            encoder.load_state_dict(saved["state_dict"])
            return encoder
        return found.load_from_checkpoint(path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except (TypeError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"{path}: expected a checkpoint of {class_path}, found one that does not fit ({one_line(error)}); use the version "
            f"of the class that was trained"
        ) from None


def _bytes_of(value: object) -> bytes:
    if torch.is_tensor(value):
        return value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    return repr(value).encode()


def _class_path(model: nn.Module) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _moved(batch: PairBatch, device: torch.device) -> PairBatch:
    if device.type == "cpu":
        return batch
    return batch._replace(tokens=batch.tokens.to(device), lengths=batch.lengths.to(device))
