import sys

import numpy as np
import pytest
import torch
from torch import nn

from nwa_lightning import (
    CosineDistance,
    EditDistanceModel,
    EmbeddingDistance,
    EuclideanDistance,
    HyperbolicDistance,
    InputError,
    KmerEncoder,
    ManhattanDistance,
    NeuroSEEDCNN,
    SquaredEuclideanDistance,
    load_pretrained,
    load_sequences,
    pair_batch,
)
from nwa_lightning.cli.main import main
from nwa_lightning.search import embedder as embedder_module
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.sequences.alphabet import ALPHABETS
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

DISTANCES = [HyperbolicDistance, EuclideanDistance, SquaredEuclideanDistance, CosineDistance]
STRINGS = ["ACGTACGT", "ACGTTCGT", "GGGG", "ACGTACGTA", "T"]

#: As somebody else would write it; it knows the length of its reads, but no distance and no encoder.
THEIR_MODEL = """
import torch
from lightning.pytorch import LightningModule
from torch import nn


class Model(LightningModule):
    def __init__(self, width: int = 3, known: int = 32):
        super().__init__()
        self.save_hyperparameters()
        self.bag = nn.EmbeddingBag(6, width, padding_idx=0)

    def training_step(self, batch, batch_idx):
        one, two = self.bag(batch.tokens)[batch.pairs].unbind(1)
        return ((one - two).norm(dim=1) - batch.distance).square().mean()

    def predict_step(self, batch, batch_idx):
        return self.bag(batch.tokens)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Everything(Model):
    def predict_step(self, batch, batch_idx):
        return {"embeddings": super().predict_step(batch, batch_idx)}
"""


def fit(folder, reads, *args):
    options = [f"--data.data={reads}", "--data.batch_size=16", "--trainer.max_steps=2", "--trainer.logger=false"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", *options, *args, *quiet])
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def checkpoint(reads, tmp_path_factory):
    """A checkpoint of a model with landmarks, as `nwa fit` writes it."""
    small = ["--model.encoder.layers=2", "--model.encoder.channels=8", "--model.landmarks=5"]
    return fit(tmp_path_factory.mktemp("fit"), reads, *small)


@pytest.fixture(scope="module")
def theirs(reads, tmp_path_factory):
    """Checkpoints of models of one's own."""
    folder = tmp_path_factory.mktemp("theirs")
    (folder / "their_embedder.py").write_text(THEIR_MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        options = ["--checkpoint.monitor=null", "--model.width=4"]
        found = {}
        for name in ("Model", "Everything"):
            (folder / name).mkdir()
            found[name] = fit(folder / name, reads, f"--model=their_embedder.{name}", *options)
        yield found
    sys.modules.pop("their_embedder", None)


def landmarks(strings=STRINGS, **options):
    return ReadEmbedder.from_landmarks(Sequences.from_strings(strings), 3, 4, **options)


def euclidean(vectors):
    return np.sqrt(((vectors[:, None].astype(np.float64) - vectors[None]) ** 2).sum(axis=-1))


def again(embedder, path):
    """The embedder, saved and loaded; nothing may change."""
    embedder.save(path)
    other = ReadEmbedder.from_checkpoint(path)
    assert other.fingerprint == embedder.fingerprint
    assert (other.max_length, other.alphabet, other.fixed_width, other.dim) == (
        embedder.max_length,
        embedder.alphabet,
        embedder.fixed_width,
        embedder.dim,
    )
    strings = [string[: embedder.max_length] for string in STRINGS]
    reads = Sequences.from_strings(strings)
    assert other.embed(reads).tobytes() == embedder.embed(reads).tobytes()
    assert [entry.name for entry in path.parent.iterdir() if entry.name.endswith(".part")] == []
    return other


def test_a_checkpoint(checkpoint, reads, tmp_path):
    embedder = ReadEmbedder.from_checkpoint(checkpoint)
    model = EditDistanceModel.load_from_checkpoint(checkpoint, weights_only=True).eval()
    sequences = load_sequences(reads)
    with torch.inference_mode():
        expected = model.distance.search_space(model.encode(pair_batch(sequences).tokens))
    torch.testing.assert_close(torch.from_numpy(embedder.embed(sequences)), expected)
    assert (embedder.max_length, embedder.dim, embedder.alphabet.name) == (32, 128, "dna")
    assert isinstance(embedder.distance, HyperbolicDistance)
    assert not embedder.model.training
    again(again(embedder, tmp_path / "one.ckpt"), tmp_path / "two.ckpt")
    assert (tmp_path / "one.ckpt").read_bytes() == (tmp_path / "two.ckpt").read_bytes()


def test_the_pretrained_model(tmp_path):
    embedder = ReadEmbedder.from_checkpoint("human16s-v4")
    assert embedder.fingerprint == ReadEmbedder(load_pretrained("human16s-v4")).fingerprint
    assert (embedder.max_length, embedder.dim) == (150, 128)
    again(embedder, tmp_path / "saved")


def test_a_model_of_ones_own(theirs, reads, tmp_path):
    embedder = ReadEmbedder.from_checkpoint(theirs["Model"])
    assert type(embedder.model).__name__ == "Model"
    assert (embedder.max_length, embedder.dim, embedder.distance) == (32, 4, None)
    sequences = load_sequences(reads)
    with torch.inference_mode():
        expected = embedder.model.bag(pair_batch(sequences).tokens)
    assert np.array_equal(embedder.embed(sequences), expected.numpy())
    again(embedder, tmp_path / "saved")
    one = embedder.embed(sequences)[:5]
    np.testing.assert_allclose(embedder.predicted_edits(one, one), euclidean(one), atol=1e-5)


def test_a_model_that_predicts_something_else(theirs):
    with pytest.raises(
        InputError, match=r"predict_step: expected one tensor of floats, \(U, m\), with a row .* found dict;"
    ):
        ReadEmbedder.from_checkpoint(theirs["Everything"]).embed(Sequences.from_strings(STRINGS))


@pytest.mark.parametrize(
    "returned", [torch.zeros(5), torch.zeros(4, 2), torch.zeros(5, 2, dtype=torch.int64), torch.zeros(5, 2, 2)]
)
def test_shapes_that_are_no_embeddings(returned):
    class Returns(EditDistanceModel):
        def predict_step(self, batch, batch_idx):
            return returned

    embedder = ReadEmbedder(Returns(NeuroSEEDCNN(32, 16, channels=8, layers=2)))
    with pytest.raises(InputError, match=r"each of the 5 reads .*, found a tensor of shape \("):
        embedder.embed(Sequences.from_strings(STRINGS))


def test_landmarks_without_training(tmp_path):
    embedder = landmarks()
    assert (embedder.max_length, embedder.dim) == (9, 4)
    again(embedder, tmp_path / "saved")
    assert landmarks(max_length=20).max_length == 20
    assert ReadEmbedder.from_landmarks(Sequences.from_strings(["AC", "AC"]), 512, 4).embed(
        Sequences.from_strings(["AC"])
    ).shape == (1, 4)
    assert landmarks().fingerprint == embedder.fingerprint


def test_landmarks_of_another_alphabet(tmp_path):
    rna = ALPHABETS["rna"]
    embedder = ReadEmbedder.from_landmarks(Sequences.from_strings(["ACGU", "UUUU", "CC"], rna), 3, 2, alphabet=rna)
    embedder.save(tmp_path / "saved")
    other = ReadEmbedder.from_checkpoint(tmp_path / "saved")
    assert other.alphabet == rna
    assert other.fingerprint == embedder.fingerprint


def test_fingerprints_tell_models_apart():
    torch.manual_seed(0)
    encoder = NeuroSEEDCNN(32, 16, channels=8, layers=2)
    torch.manual_seed(0)
    same = NeuroSEEDCNN(32, 16, channels=8, layers=2)
    assert ReadEmbedder(encoder).fingerprint == ReadEmbedder(same).fingerprint
    different = [
        ReadEmbedder(encoder),
        ReadEmbedder(NeuroSEEDCNN(32, 16, channels=8, layers=2)),
        ReadEmbedder(encoder, max_length=20),
        ReadEmbedder(encoder, alphabet=ALPHABETS["rna"]),
        ReadEmbedder(EditDistanceModel(encoder)),
        ReadEmbedder(KmerEncoder(32, None, k=2)),  # without weights
        ReadEmbedder(KmerEncoder(32, None, k=3)),
    ]
    with torch.no_grad():
        next(same.parameters()).view(-1)[0] += 1e-7
    different.append(ReadEmbedder(same))
    assert len({embedder.fingerprint for embedder in different}) == len(different)


def test_any_number_of_reads(monkeypatch):
    reads = load_sequences("tree:60x20")
    embedder = ReadEmbedder.from_landmarks(reads, 8)
    whole, told = embedder.embed(reads), []
    assert embedder.embed(reads).tobytes() == whole.tobytes()
    monkeypatch.setattr(embedder_module, "BATCH", 25)
    np.testing.assert_allclose(embedder.embed(reads, told.append), whole, atol=1e-4)
    assert told == [25, 50, 60]
    np.testing.assert_allclose(embedder.embed(reads.take(np.array([7]))), whole[7:8], atol=1e-4)
    assert embedder.embed(Sequences.from_strings([])).shape == (0, embedder.dim)


def test_batches_of_fixed_width():
    embedder = ReadEmbedder(NeuroSEEDCNN(32, 16, channels=8, layers=2), fixed_width=True)
    assert [batch.tokens.shape for batch in embedder.batches(Sequences.from_strings(STRINGS))] == [(5, 33)]
    embedder = ReadEmbedder(NeuroSEEDCNN(32, 16, channels=8, layers=2))
    assert [batch.tokens.shape for batch in embedder.batches(Sequences.from_strings(STRINGS))] == [(5, 10)]


def test_a_read_that_is_too_long():
    embedder = landmarks()
    reads = Sequences.from_strings(["A", "A" * 10, "A" * 11])
    named = Sequences(reads.bases, Packed.of([b"short", b"long;x", b"longer"]))
    with pytest.raises(
        InputError, match=r"reads: expected at most 9 bases.*found 10 in long;x \(2 such reads\); cut them"
    ):
        embedder.embed(named)
    with pytest.raises(InputError, match=r"queries.fa: expected at most 9"):
        embedder.check(named, "queries.fa")
    embedder.check(named.take(np.array([0])))


def test_the_longest_length_must_be_known():
    class Theirs(nn.Module):
        pass

    with pytest.raises(InputError, match="max_length: expected a number, for Theirs does not say for how many bases"):
        ReadEmbedder(Theirs())
    assert ReadEmbedder(Theirs(), 12).max_length == 12


@pytest.mark.parametrize("kind", DISTANCES)
@pytest.mark.parametrize("power", [1, 1.5])
def test_euclidean_order_is_the_order_of_the_distance(kind, power):
    torch.manual_seed(1)
    distance = kind(radius=0.9, power=power) if kind is HyperbolicDistance else kind()
    distance.scale.data.fill_(-0.7)
    embeddings = torch.randn(40, 6) * 3
    vectors = distance.search_space(embeddings)
    one, two = np.triu_indices(40, 1)
    expected = distance(embeddings[one], embeddings[two]).detach().numpy()
    found = euclidean(vectors.numpy())[one, two]
    order = np.argsort(expected, kind="stable")
    assert (np.diff(found[order]) > -1e-5 * found.max()).all()
    # The distances themselves have not changed: what is indexed is also good for distance matrices.
    torch.testing.assert_close(distance(vectors[one], vectors[two]), distance(embeddings[one], embeddings[two]))
    torch.testing.assert_close(
        distance.all_pairs(vectors, vectors)[one, two], torch.from_numpy(expected), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("kind", [*DISTANCES, None])
def test_predicted_edits(kind):
    torch.manual_seed(0)
    encoder = NeuroSEEDCNN(32, 16, channels=8, layers=2)
    reads = Sequences.from_strings(STRINGS)
    if kind is None:
        mds = landmarks()
        vectors = mds.embed(reads)
        expected = euclidean(vectors) ** mds.model.power.item()
        np.testing.assert_allclose(mds.predicted_edits(vectors, vectors), expected, atol=1e-3)
        return
    model = EditDistanceModel(encoder, distance=kind())
    embedder = ReadEmbedder(model)
    vectors = embedder.embed(reads)
    found = embedder.predicted_edits(vectors, vectors)
    one, two = np.triu_indices(len(reads), 1)
    with torch.inference_mode():
        embeddings = model.encode(pair_batch(reads).tokens)
        expected = model.predicted_edits(embeddings, torch.from_numpy(np.stack([one, two], axis=1)))
    np.testing.assert_allclose(found[one, two], expected.numpy(), rtol=1e-3, atol=1e-3)
    assert found.shape == (5, 5)


class Chebyshev(EmbeddingDistance):
    """A distance of one's own, without vectors for an index."""

    def _pairwise(self, first, second):
        return (first - second).abs().amax(dim=-1)


class Ranked(Chebyshev):
    """Another one, with them."""

    def search_space(self, embeddings):
        return 2 * embeddings


@pytest.mark.parametrize("kind", [ManhattanDistance, Chebyshev])
def test_a_distance_without_vectors_for_an_index(kind, checkpoint):
    model = EditDistanceModel(NeuroSEEDCNN(32, 16, channels=8, layers=2), distance=kind())
    message = f"{kind.__name__}: expected a distance that ranks as a Euclidean one.*none; search without embeddings"
    with pytest.raises(InputError, match=message) as error:
        ReadEmbedder(model).embed(Sequences.from_strings(STRINGS))
    assert "\n" not in str(error.value)


def test_a_distance_of_ones_own_with_vectors():
    model = EditDistanceModel(NeuroSEEDCNN(32, 16, channels=8, layers=2), distance=Ranked()).eval()
    reads = Sequences.from_strings(STRINGS)
    with torch.inference_mode():
        expected = 2 * model.encode(pair_batch(reads).tokens)
    assert np.array_equal(ReadEmbedder(model).embed(reads), expected.numpy())


def test_checkpoints_that_cannot_be_used(theirs, checkpoint, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"none.ckpt: expected a checkpoint, found no such file"):
        ReadEmbedder.from_checkpoint(tmp_path / "none.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    changes = {
        "nameless": (
            lambda new: new.update(NWADataModule={}, hyper_parameters={}),
            "expected a checkpoint that names its",
        ),
        "bare": (
            lambda new: (new.pop("hyper_parameters"), new.pop("NWADataModule")),
            "expected a checkpoint that names its",
        ),
        "gone": (
            lambda new: new["hyper_parameters"].update(_class_path="gone.Model"),
            "expected a class that can be impor",
        ),
        "cut": (
            lambda new: new["state_dict"].popitem(),
            "expected a checkpoint of .*EditDistanceModel, found one that does",
        ),
    }
    for name, (change, message) in changes.items():
        changed = torch.load(checkpoint, weights_only=True)
        change(changed)
        torch.save(changed, tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: {message}") as error:
            ReadEmbedder.from_checkpoint(tmp_path / name)
        assert "\n" not in str(error.value)
    assert content["state_dict"]
    monkeypatch.delitem(sys.modules, "their_embedder")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "theirs" not in entry])
    with pytest.raises(
        InputError, match=r"expected a class that can be imported, found their_embedder.Model; run where"
    ):
        ReadEmbedder.from_checkpoint(theirs["Model"])


def test_saved_landmarks_that_do_not_fit(tmp_path):
    landmarks().save(tmp_path / "saved")
    content = torch.load(tmp_path / "saved", weights_only=True)
    content["hyper_parameters"]["count"] = 7
    torch.save(content, tmp_path / "saved")
    with pytest.raises(InputError, match=r"saved: expected a checkpoint of .*LandmarkMDS, found one that does not fit"):
        ReadEmbedder.from_checkpoint(tmp_path / "saved")


def test_a_model_that_cannot_be_saved_on_a_full_disk(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="saved: expected "):
        landmarks().save(tmp_path / "file" / "saved")
    with pytest.raises(InputError, match="saved: expected "):
        landmarks().save(tmp_path / "none" / "saved")
