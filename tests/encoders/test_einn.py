import numpy as np
import pytest
import torch
from oracle import soft_nw
from test_asmac import random_reads, tokens_of
from torch import nn

from nwa_lightning import EINN


def test_scores_of_the_whole_read_then_one_linear_layer():
    torch.manual_seed(0)
    encoder = EINN(40, 24, references=5, reference_length=7)
    reads = [*random_reads(0, 3, 1, 40), "A", ""]
    seen = []
    encoder.readout.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    found = encoder(tokens_of(*reads))
    expected = [
        [
            soft_nw(["ACGT".index(letter) for letter in read], weights.numpy(), gap, encoder.gamma) / 40**0.5
            for weights, gap in zip(encoder.references.detach().double(), encoder.gaps.tolist(), strict=True)
        ]
        for read in reads
    ]
    np.testing.assert_allclose(seen[0].detach(), expected, atol=1e-5)
    torch.testing.assert_close(found, seen[0] @ encoder.readout.weight.T + encoder.readout.bias)


def test_parameters():
    encoder = EINN(152)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 32 * (4 * 152 + 1) + 32 * 128 + 128


def test_padding_changes_no_bit():
    torch.manual_seed(0)
    encoder = EINN(60, 24)
    tokens = tokens_of(*random_reads(1, 4))
    assert torch.equal(encoder(nn.functional.pad(tokens, (0, 20))), encoder(tokens))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types(dtype):
    torch.manual_seed(0)
    encoder = EINN(40, 24)
    tokens = tokens_of(*random_reads(2, 4))
    expected = encoder(tokens)
    found = encoder.to(dtype)(tokens)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 5e-2
    torch.testing.assert_close(found, expected.to(dtype), atol=tolerance, rtol=0)


def test_an_exported_program_says_the_same():
    torch.manual_seed(0)
    encoder = EINN(24, 10, references=6, reference_length=5).eval()
    tokens = encoder.pad(tokens_of(*random_reads(3, 4, 2, 24), ""))
    rows = torch.export.Dim("rows", min=1, max=64)
    program = torch.export.export(encoder, (tokens,), dynamic_shapes=({0: rows},)).module()
    for part in (tokens, tokens[:1], tokens[3:]):
        torch.testing.assert_close(program(part), encoder(part))


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    encoder = EINN(40, 8, references=16, reference_length=10)
    tokens = tokens_of(*random_reads(4, 12))
    counts = torch.stack([(tokens == letter).float().mean(dim=1) for letter in range(2, 6)], dim=1)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (encoder(tokens)[:, :4] - counts).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
