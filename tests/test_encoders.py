import pytest
import torch

from nwa_lightning import NeuroSEEDCNN


def test_an_embedding_depends_on_its_own_sequence_alone():
    torch.manual_seed(0)
    encoder = NeuroSEEDCNN(max_length=40, embedding_dim=24).eval()
    tokens = torch.randint(2, 6, (5, 31))
    tokens[:, 0] = 1
    tokens[3, 20:] = 0
    together = encoder(tokens)
    assert together.shape == (5, 24)
    torch.testing.assert_close(encoder(tokens[3:4, :20]), together[3:4])
    torch.testing.assert_close(encoder(tokens[:2]), together[:2])
    other = tokens.clone()
    other[0, 7] = 2 + (other[0, 7] - 1) % 4
    assert not torch.allclose(encoder(other)[0], together[0])


def test_every_parameter_learns():
    encoder = NeuroSEEDCNN(max_length=40, embedding_dim=24)
    encoder(torch.randint(2, 6, (5, 41))).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_bad_lengths():
    with pytest.raises(ValueError, match=r"at most 40 bases \(max_length\) but got 41"):
        NeuroSEEDCNN(max_length=40)(torch.ones(1, 42, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 15 for 4 halvings but got 14"):
        NeuroSEEDCNN(max_length=14)
