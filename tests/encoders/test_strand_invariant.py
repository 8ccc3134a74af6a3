"""StrandInvariant: a read and its reverse complement have the same embedding, on every way from training to export."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer
from quiet import QUIET_TRAINER
from test_asmac import random_reads, tokens_of
from torch import nn

from nwa_lightning import (
    AsMac,
    EditDistanceModel,
    GRUEncoder,
    InputError,
    KmerEncoder,
    LandmarkEncoder,
    LinearEncoder,
    NeuroSEEDCNN,
    NWADataModule,
    PooledCNN,
    ResidualCNN,
    Sequences,
    StrandInvariant,
    load_encoder,
)
from nwa_lightning.cli.main import main
from nwa_lightning.encoders.build import as_encoder
from nwa_lightning.models.export import export_checkpoint
from nwa_lightning.sequences.alphabet import ALPHABETS, DNA
from nwa_lightning.sequences.strands import reverse_complement

#: Float32 sums of a few hundred products, in another order in another row of a batch.
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def other_strand(read):
    return read[::-1].translate(str.maketrans("ACGT", "TGCA"))


def landmarks(encoder=None, count=5, **options):
    made = LandmarkEncoder(encoder, count, **options)
    made.landmarks.draw(Sequences.from_strings(random_reads(9, 30, 10, made.max_length)))
    return made


INNER = [
    lambda: PooledCNN(40, 24, channels=8, queries=2),
    lambda: ResidualCNN(40, 24, channels=8),
    lambda: NeuroSEEDCNN(40, 24, channels=8, layers=2),
    lambda: KmerEncoder(40, None, k=3),
    lambda: GRUEncoder(40, 24),
    lambda: AsMac(40, 200),
    lambda: landmarks(max_length=40, embedding_dim=24),
    lambda: landmarks(LinearEncoder(40, 24)),
]


@pytest.mark.parametrize("make", INNER)
def test_both_strands_have_the_same_embedding(make):
    torch.manual_seed(0)
    inner = make().eval()
    encoder = StrandInvariant(inner).eval()
    reads = [*random_reads(0, 5, 30, 39), "ACGT", "A"]
    turned = [other_strand(read) for read in reads]
    found = encoder(tokens_of(*reads))
    assert found.shape == (7, inner.embedding_dim)
    torch.testing.assert_close(encoder(tokens_of(*turned)), found, **TOLERANCE)
    mean = (inner(tokens_of(*reads)) + inner(tokens_of(*turned))) / 2
    torch.testing.assert_close(found, mean, **TOLERANCE)
    torch.testing.assert_close(encoder(nn.functional.pad(tokens_of(*reads[:2]), (0, 1))), found[:2], **TOLERANCE)
    # The encoder alone tells the strands apart, and its mean tells reads apart.
    assert (inner(tokens_of(*turned)) - inner(tokens_of(*reads)))[:5].abs().amax(dim=1).min() > 1e-3
    assert torch.pdist(found[:5]).min() > 1e-3


@given(st.sampled_from(["dna", "rna", "iupac"]), st.data())
def test_tokens_of_the_other_strand(name, data):
    alphabet = ALPHABETS[name]
    reads = data.draw(st.lists(st.text(alphabet.letters, max_size=6), min_size=1, max_size=4))
    sequences = Sequences.from_strings(reads, alphabet)
    encoder = StrandInvariant(KmerEncoder(9, vocabulary=alphabet.size, k=1))
    tokens, expected = (
        torch.nn.functional.pad(torch.from_numpy(found.padded(9)).long(), (1, 0), value=1)
        for found in (sequences, reverse_complement(sequences, alphabet))
    )
    assert encoder.other_strand(tokens).equal(expected)
    assert encoder.other_strand(expected).equal(tokens)


def test_no_reads_and_reads_without_a_base():
    torch.manual_seed(0)
    encoder = StrandInvariant(PooledCNN(40, 24))
    assert encoder(torch.zeros(0, 33, dtype=torch.long)).shape == (0, 24)
    for tokens in (torch.ones(2, 1, dtype=torch.long), torch.tensor([[1, 0, 0]] * 2)):
        assert encoder.other_strand(tokens).equal(tokens)
        assert encoder(tokens).isfinite().all()


def test_landmarks_around_it_run_too():
    torch.manual_seed(0)
    inner = StrandInvariant(ResidualCNN(40, 24, channels=8))
    encoder = landmarks(inner).eval()
    assert (encoder.max_length, encoder.embedding_dim, encoder.vocabulary) == (40, 24, DNA.size)
    tokens = tokens_of(*random_reads(1, 3))
    features = encoder.landmarks(tokens)
    torch.testing.assert_close(encoder(tokens), inner(tokens) + encoder.readout(features) + encoder.hidden(features))


def test_every_parameter_learns():
    torch.manual_seed(0)
    encoder = StrandInvariant(PooledCNN(40, 24, queries=2))
    encoder(tokens_of(*random_reads(1, 4))).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in encoder.parameters())
    assert set(encoder.state_dict()) == {f"encoder.{name}" for name in encoder.encoder.state_dict()}


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: KmerEncoder(40, vocabulary=ALPHABETS["protein"].size, k=1), "expected DNA or RNA, found protein"),
        (
            lambda: KmerEncoder(40, vocabulary=9),
            r"vocabulary: expected 6 \(DNA or RNA\) or 17 \(IUPAC\), found 9; build",
        ),
        (lambda: nn.Linear(2, 2), "encoder: expected an nwa_lightning.Encoder, found Linear; derive it from Encoder"),
        (lambda: None, "encoder: expected an encoder, found none"),
    ],
)
def test_what_has_no_second_strand(made, message):
    with pytest.raises(InputError, match=message) as error:
        StrandInvariant(made())
    assert len(str(error.value).splitlines()) == 1


def test_its_spec_rebuilds_it():
    torch.manual_seed(0)
    encoder = StrandInvariant(LandmarkEncoder(PooledCNN(40, 24, channels=8), 5))
    again = as_encoder(encoder.spec)
    assert again.spec == encoder.spec
    assert type(again.encoder.encoder) is PooledCNN
    again.load_state_dict(encoder.state_dict())


def test_from_fit_to_export(reads, tmp_path):
    """Landmarks inside are drawn at the start; checkpoint, files and program keep the embedding."""
    torch.manual_seed(0)
    encoder = StrandInvariant(LandmarkEncoder(PooledCNN(32, 8, channels=4), 6))
    model = EditDistanceModel(encoder, nwa_weight=0.01)
    trainer = Trainer(max_steps=2, **QUIET_TRAINER)
    trainer.fit(model, datamodule=NWADataModule(str(reads), batch_size=16, nwa_batch_size=6))
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    model.eval()
    tokens = encoder.pad(tokens_of("ACGTT", "AACGT", "GGA"))
    right = model.encode(tokens)
    torch.testing.assert_close(right[0], right[1], **TOLERANCE)
    again = EditDistanceModel.load_from_checkpoint(path, weights_only=True).eval()
    torch.testing.assert_close(again.encode(tokens), right)
    export_checkpoint(path, tmp_path / "out", version="0")
    torch.testing.assert_close(load_encoder(tmp_path / "out")(tokens), right)
    program = torch.export.load(tmp_path / "out" / "encoder.pt2").module()
    for part in (tokens, tokens[:1]):
        torch.testing.assert_close(program(part), right[: len(part)], **TOLERANCE)
    compiled = torch.compile(again.encoder.encoder.encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens), again.encoder.encoder.encoder(tokens), **TOLERANCE)


def test_on_the_command_line(reads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.logger=false", "--trainer.max_steps=2"]
    named = [
        "--model.encoder=StrandInvariant",
        "--model.encoder.encoder=PooledCNN",
        "--model.encoder.encoder.queries=2",
    ]
    sizes = ["--model.encoder.encoder.max_length=32", "--data.max_length=32", "--data.batch_size=16"]
    main(["fit", str(reads), *named, *sizes, "--model.nwa_weight=null", *quiet])
    model = EditDistanceModel.load_from_checkpoint("checkpoints/last.ckpt", weights_only=True)
    assert (type(model.encoder), type(model.encoder.encoder)) == (StrandInvariant, PooledCNN)
    assert len(model.encoder.encoder.attention.queries) == 2
    main(["export", "--ckpt_path=checkpoints/last.ckpt", "--to=out"])
    tokens = tokens_of("ACGTT", "AACGT")
    torch.testing.assert_close(load_encoder("out")(tokens), model.eval().encode(tokens))


@pytest.mark.parametrize("make", [lambda: ResidualCNN(20), lambda: LandmarkEncoder(ResidualCNN(20), 5)])
def test_its_parts_make_no_maps(make):
    """They see both strands of every read, or landmarks that are not drawn yet."""
    name = "encoder.encoder.features" if isinstance(make(), ResidualCNN) else "encoder.encoder.encoder.features"
    with pytest.raises(InputError, match="nwa_features, nwa_channels: Expected"):
        EditDistanceModel(StrandInvariant(make()), nwa_features=name)
