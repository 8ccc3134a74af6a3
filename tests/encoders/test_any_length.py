"""Encoders that say they embed reads of any length do; those that do not, refuse longer ones."""

import numpy as np
import pytest
import torch
from test_asmac import random_reads, tokens_of
from test_encoders import ENCODERS
from torch import nn

from nwa_lightning import (
    AsMac,
    EditDistanceModel,
    Encoder,
    InputError,
    KmerEncoder,
    LandmarkEncoder,
    NeuroSEEDCNN,
    PooledCNN,
    ReadEmbedder,
    Sequences,
    StrandInvariant,
)


def drawn(encoder):
    encoder.landmarks.draw(Sequences.from_strings(random_reads(1, 30, 5, 20)))
    return encoder


EVERY = [
    *((kind.__name__, lambda kind=kind, options=options: kind(40, 24, **options)) for kind, options in ENCODERS),
    ("Landmarks-Pooled", lambda: drawn(LandmarkEncoder(PooledCNN(40, 24, channels=8), 5))),
    ("Landmarks-CNN", lambda: drawn(LandmarkEncoder(NeuroSEEDCNN(40, 24), 5))),
    ("Strands-Pooled", lambda: StrandInvariant(PooledCNN(40, 24, channels=8))),
    ("Strands-CNN", lambda: StrandInvariant(NeuroSEEDCNN(40, 24))),
    ("Strands-Landmarks", lambda: StrandInvariant(drawn(LandmarkEncoder(PooledCNN(40, 24, channels=8), 5)))),
]


@pytest.mark.parametrize("make", [pytest.param(make, id=f"{name}-{n}") for n, (name, make) in enumerate(EVERY)])
def test_longer_reads(make):
    """An embedding of its own sequence alone, whatever the padding and the batch; another read has another one."""
    torch.manual_seed(0)
    encoder = make().eval()
    reads = random_reads(0, 4, 100, 150)
    if not encoder.any_length:
        with pytest.raises(ValueError, match=r"at most 40 bases \(max_length\) but got"):
            encoder(tokens_of(*reads))
        return
    with torch.no_grad():
        found = encoder(tokens_of(*reads, "ACGT"))
        padded = encoder(nn.functional.pad(tokens_of(*reads), (0, 300)))
        alone = torch.cat([encoder(tokens_of(read)) for read in reads])
    assert found.isfinite().all()
    torch.testing.assert_close(padded, found[:4], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(alone, found[:4], rtol=1e-5, atol=1e-5)
    assert torch.pdist(found).min() > 1e-3
    assert torch.equal(encoder(tokens_of(reads[0]))[:, :3].isfinite(), torch.ones(1, 3, dtype=torch.bool))


def test_which_encoders_do():
    names = {name for name, make in EVERY if make().any_length}
    alone = {"AsMac", "EINN", "GRUEncoder", "KmerEncoder", "PooledCNN"}
    assert names == {*alone, "Landmarks-Pooled", "Strands-Pooled", "Strands-Landmarks"}
    assert not Encoder.any_length
    assert not LandmarkEncoder(count=5, max_length=40).any_length


@pytest.mark.parametrize("whole", [False, True])
def test_an_embedder_takes_longer_reads_where_its_encoder_does(whole):
    torch.manual_seed(0)
    reads = random_reads(2, 3, 5, 60)
    reads[1] = "ACGT" * 30
    named = Sequences.from_strings(reads)
    for encoder in (PooledCNN(20, 8, channels=4), StrandInvariant(KmerEncoder(20, 8)), AsMac(20, 8)):
        model = EditDistanceModel(encoder) if whole else encoder
        embedder = ReadEmbedder(model)
        embedder.check(named)
        right = encoder.eval()(tokens_of(*reads)).detach()
        if whole:
            right = model.distance.search_space(right).detach()
        np.testing.assert_allclose(embedder.embed(named), right.numpy(), rtol=1e-5, atol=1e-5)
        with pytest.raises(InputError, match=r"expected at most 20 bases.*found 120 in 2"):
            ReadEmbedder(model, fixed_width=True).embed(Sequences.from_strings(["A", "ACGT" * 30]))
    for encoder in (NeuroSEEDCNN(20, 8, channels=4, layers=2), StrandInvariant(NeuroSEEDCNN(20, 8, layers=2))):
        with pytest.raises(InputError, match=r"expected at most 20 bases.*found 120 in 2"):
            ReadEmbedder(encoder).embed(Sequences.from_strings(["A", "ACGT" * 30]))
    with pytest.raises(InputError, match=r"expected at most 20 bases"):
        ReadEmbedder(drawn(LandmarkEncoder(count=5, max_length=20))).embed(named)
