import argparse
import ast
import csv
import importlib
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nwa_lightning import NWADataModule
from nwa_lightning.sequences.catalog import load_sequences

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_model_that_was_written_with_nwa(tmp_path):
    command = [sys.executable, str(EXAMPLES / "write_a_model.py"), "--steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert 0 < values["train/nwa_loss"] < 151


def test_an_existing_model_by_inheritance_and_by_the_callback(tmp_path):
    command = [sys.executable, str(EXAMPLES / "existing_model.py"), "--steps", "5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *curve, same_curve, same_weights = done.stdout.strip().splitlines()[-7:]
    assert same_curve.endswith("True")
    assert same_weights.endswith("True")
    for line in curve:
        _, alone, mixin, callback = line.split()
        assert float(alone) < float(mixin)
        assert mixin == callback
    assert not list(tmp_path.iterdir())


def test_from_reads_to_answers(tmp_path):
    command = [sys.executable, str(EXAMPLES / "answers.py"), "--reads", "500"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    search, clusters, tree = done.stdout.strip().splitlines()[-3:]
    having, found = (int(word) for word in search.split() if word.isdigit() and word != "100" and word != "90")
    assert 20 < found <= having < 100
    assert 100 < int(clusters.split(" clusters")[0].split()[-1]) < 500
    assert tree.endswith(";")
    assert tree.count(",") == 7


def test_a_large_set_shard_by_shard(tmp_path):
    command = [sys.executable, str(EXAMPLES / "large_set.py"), "--cells", "4"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "300 queries have a hit" in done.stdout
    assert "3,000 distinct reads: 300 clusters" in done.stdout  # one for each strand
    jobs = [line.split()[:2] for line in done.stdout.splitlines() if "_shard " in line or "_centroids " in line]
    found = {"embed_shard": 3, "build_shard": 3, "measure_shard": 3, "search_shard": 3, "divide_shard": 3}
    found |= {"cluster_shard": 4, "join_centroids": 1, "settle_shard": 4}
    assert jobs == [[name, str(count)] for name, count in found.items()]
    assert not list(tmp_path.iterdir())


def test_the_cold_start(tmp_path):
    command = [sys.executable, str(EXAMPLES / "benchmarks" / "cold_start.py"), "--steps", "100", "--validate"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = float(done.stdout.split("validation RMSE ")[1].split()[0])
    assert 1.5 < found < 6  # better than the constant, not yet what 1,000 steps reach


def test_the_study_goes_on_where_it_was_and_says_what_nwa_changed(tmp_path):
    command = [
        sys.executable,
        str(EXAMPLES / "study" / "reproduce.py"),
        "--data",
        "tree:300x60",
        "--out",
        str(tmp_path),
    ]
    command += ["--rows", "cnned", "--dims", "16", "--seeds", "2", "--steps", "3"]
    done = subprocess.run([*command, "--nwa", "without", "with", "1e-3"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "14 of 14 cells" in done.stdout  # 2 seeds x (4 baselines + 3)
    kept = tmp_path / "cells.csv"
    before = [line for line in kept.read_text().splitlines() if not ("cnned" in line and ",with,1," in line)]
    assert len(before) == 1 + 13
    kept.write_text("\n".join(before) + "\n")
    done = subprocess.run([*command, "--nwa", "without", "with", "longer"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 of 14 cells" in done.stdout
    assert kept.read_text().splitlines()[: len(before)] == before

    rows = [line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()]
    assert [(row[3], row[4]) for row in rows[2:]] == [
        ("constant", "without"),
        ("kmer_euclidean", "without"),
        ("kmer_cosine", "without"),
        ("ffp", "without"),
        ("cnned", "without"),
        ("cnned", "longer"),
        ("cnned", "with"),
        ("cnned", "1e-3"),
    ]
    with kept.open() as file:
        listed = [
            float(row["rmse"]) for row in csv.DictReader(file) if row["row"] == "cnned" and row["nwa"] == "without"
        ]
    assert rows[6][8] == f"{np.mean(listed):.3f} ± {np.std(listed, ddof=1):.3f}"
    assert {path.name.split("-")[0] for path in (tmp_path / "pictures").glob("*.png")} == {"lambda", "maps", "tree"}


def test_a_row_of_the_study_names_its_optimizer(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "study")
    study = importlib.import_module("reproduce")
    options = argparse.Namespace(data="tree:300x60")
    for row, optimizer in (("cnn", "radam"), ("cnn_muon", "muon"), ("residual_wide", "radam")):
        assert study.build(study.Cell(row, "without", 16, None, 0), options, 1).model.optimizer == optimizer
    assert study.build(study.Cell("cnn_muon", "with", 16, None, 0), options, 1).model.nwa is not None


def test_a_change_counts_beyond_two_standard_deviations(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "study")
    verdict = importlib.import_module("reproduce_tables").verdict
    assert verdict([1.5, 1.1], [2.0, 1.5]) == "-0.450 (-25.7 %) ± 0.071: better"
    assert verdict([1.5, 1.5], [2.0, 1.5]) == "-0.250 (-14.3 %) ± 0.354: within the spread"
    assert verdict([2.1, 1.6], [2.0, 1.5]).endswith(": worse")
    assert verdict([1.991, 1.492], [2.0, 1.5]).endswith("within the spread")
    assert verdict([2.1], [2.0]) == "+0.100 (+5.0 %)"


def scores_of_alignments(one, two):
    """Every alignment of two strings: its score, and the cells where it sets two letters together."""
    if not one and not two:
        return [(0, ())]
    found = []
    if one:
        found += [(score - 1, cells) for score, cells in scores_of_alignments(one[:-1], two)]
    if two:
        found += [(score - 1, cells) for score, cells in scores_of_alignments(one, two[:-1])]
    if one and two:
        step = 1 if one[-1] == two[-1] else -1
        together = (len(one), len(two))
        found += [(score + step, (*cells, together)) for score, cells in scores_of_alignments(one[:-1], two[:-1])]
    return found


@pytest.mark.parametrize(
    ("one", "two"), [("ACGT", "AGT"), ("A", "A"), ("A", "CCGTA"), ("TTTT", "TT"), ("ACGTA", "CGTAA")]
)
def test_posterior_of_an_alignment_counts_every_alignment(one, two, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "study")
    log_posterior = importlib.import_module("other_targets").log_posterior
    longest = 6
    codes = torch.tensor([[*map(ord, text.ljust(longest))] for text in (one, two)])
    lengths = torch.tensor([len(one), len(two)])
    expected = torch.zeros(longest + 1, longest + 1)
    alignments = scores_of_alignments(one, two)
    for score, cells in alignments:
        for cell in cells:
            expected[cell] += math.exp(score)
    expected /= sum(math.exp(score) for score, _ in alignments)
    # Both orders in one call, as pairs of unequal lengths come.
    both = torch.tensor([0, 1]), torch.tensor([1, 0])
    found = log_posterior(*((codes[side], lengths[side]) for side in both)).exp()
    torch.testing.assert_close(found, torch.stack([expected, expected.T]))


def test_shifted_reads_are_parts_of_the_reads(tmp_path, reads):
    out = tmp_path / "shifted.fasta.gz"
    command = [sys.executable, str(EXAMPLES / "study" / "shifted_reads.py"), "--data", str(reads), "--length", "20"]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    whole, parts = load_sequences(reads), load_sequences(out)
    assert len(parts) == len(whole)
    assert (parts.lengths == 20).all()
    starts = [int(name.rpartition("_")[2]) for name in parts.names]
    assert len(set(starts)) > 3
    for row, start in enumerate(starts):
        assert (parts.padded()[row] == whole.padded()[row, start : start + 20]).all()


@pytest.fixture
def where_it_helps(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "study")
    return importlib.import_module("where_it_helps")


def test_top1_counts_any_of_the_nearest(where_it_helps, reads):
    batch = next(iter(NWADataModule(str(reads), test_group=20).test_dataloader()))
    assert where_it_helps.top1(lambda batch: batch.distance.float(), [batch, batch]) == 100
    # Of four sequences, 0 and 1 are near, 2 is as near to 0 as to 1, and 3 is nearest to 2.
    pairs = torch.tensor([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
    small = batch._replace(tokens=batch.tokens[:4], pairs=pairs, distance=torch.tensor([1, 5, 9, 5, 9, 6]))
    guess = {(0, 1): 4.0, (0, 2): 3.0, (0, 3): 9.0, (1, 2): 8.0, (1, 3): 7.0, (2, 3): 5.0}
    # 0 takes 2 (wrong), 1 takes 0 (right), 2 takes 0 (right, one of two), 3 takes 2 (right)
    assert where_it_helps.top1(lambda _: torch.tensor(list(guess.values())), [small]) == 75


def test_labels_are_noisy_in_training_alone(where_it_helps, reads):
    data = where_it_helps.NoisyLabels(str(reads), noise=5.0, seed=1, batch_size=16)
    batch = data.train_dataloader().dataset[0]
    assert data.on_before_batch_transfer(batch, 0) is batch
    data.trainer = SimpleNamespace(training=True)
    noisy = data.on_before_batch_transfer(batch, 0)
    assert noisy.distance.dtype == batch.distance.dtype
    assert noisy.distance.min() >= 0
    error = (noisy.distance - batch.distance).float()
    assert 3 < error.std() < 7
    assert abs(error.mean()) < 2
    assert torch.equal(noisy.tokens, batch.tokens)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_a_projected_term_never_points_against_the_encoder_loss(where_it_helps, reads):
    torch.manual_seed(0)
    model = where_it_helps.build("transformer", "projected", 16)
    batch = NWADataModule(str(reads), batch_size=16, nwa_batch_size=6).train_dataloader().dataset[0]
    embeddings = model.encode(batch.tokens)
    # Every second embedding against the term, the others with it.
    term = where_it_helps.EditDistanceModel.nwa_loss(model, embeddings, batch)
    (whole,) = torch.autograd.grad(term, embeddings)
    signs = torch.tensor([1.0, -1.0]).repeat(8)[:, None]
    encoder_loss = (embeddings * (signs * whole + 1e-6 * torch.randn(16, 16))).sum()
    (wanted,) = torch.autograd.grad(encoder_loss, embeddings, retain_graph=True)
    (found,) = torch.autograd.grad(model.nwa_loss(embeddings, batch, encoder_loss), embeddings, retain_graph=True)
    for row in range(16):
        expected = whole[row]
        if expected @ wanted[row] < 0:
            expected = expected - (expected @ wanted[row]) / (wanted[row] @ wanted[row]) * wanted[row]
        torch.testing.assert_close(found[row], expected)
    assert ((whole * wanted).sum(dim=1) < 0).sum() == 3  # of the six that have a map
