"""The studies of whole genes, proteins, strands and near pairs, and the benchmark of long reads, on small data."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from nwa_lightning import evolve_tree

EXAMPLES = Path(__file__).parents[2] / "examples"


def short_clock(monkeypatch):
    clock = importlib.import_module("landmarks").Clock
    monkeypatch.setattr(clock, "FIRST", 1)
    monkeypatch.setattr(clock, "LAST", 3)


@pytest.fixture
def genes(tmp_path):
    """A file with the headers of ``greengenes.py --genes``."""
    path = tmp_path / "genes.fasta"
    reads = evolve_tree(120, 60, seed=0).to_strings()
    path.write_text("".join(f">{n} cluster={n // 3} near={n // 6}\n{read}\n" for n, read in enumerate(reads)))
    return path


@pytest.fixture
def finished(tmp_path, monkeypatch, capsys):
    """Run rows of a study with options; gives the study and its cells, which its table shows."""

    def run(name, rows, *options):
        monkeypatch.syspath_prepend(EXAMPLES / "study")
        study = importlib.import_module(name)
        monkeypatch.setattr(study.torch, "set_num_threads", lambda _: None)  # it would last for other tests
        short_clock(monkeypatch)
        out = tmp_path / "cells.csv"
        given = ["--seeds", "0", *options, "--rows", *rows, "--out", str(out)]
        monkeypatch.setattr("sys.argv", [f"{name}.py", *given])
        study.main()
        cells = study.read_cells(out)
        assert [cell["row"] for cell in cells] == rows
        monkeypatch.setattr("sys.argv", [f"{name}.py", "--table", "--out", str(out)])
        capsys.readouterr()
        study.main()
        assert capsys.readouterr().out.count("\n") == 2 + len(rows)
        monkeypatch.setattr("sys.argv", [f"{name}.py", *given])
        return study, cells, out

    return run


def test_whole_genes(genes, tmp_path, finished):
    rows = ["constant", "kmer3", "mds+l8", "alone+l8+near", "pooled+nwa+s20"]
    options = ["--data", str(genes), "--seconds", "0.3", "--threads", "1", "--cache", str(tmp_path / "cache")]
    study, cells, out = finished("whole_genes", rows, *options)
    assert all(float(cell["rmse"]) > 0 for cell in cells)
    assert all(0 <= float(cell["nearest"]) <= float(cell["within10"]) <= 100 for cell in cells[1:])
    study.main()  # finished cells are not computed again
    assert study.read_cells(out) == cells


def test_protein_families(finished):
    rows = ["constant", "kmer1", "pooled", "pooled+nwa+s20"]
    _, cells, _ = finished("protein", rows, "--families", "30", "--members", "4", "--seconds", "0.3")
    assert all(float(cell["rmse_score"]) > float(cell["rmse"]) / 100 > 0 for cell in cells)


def test_proteins_of_a_file(proteins, finished):
    _, cells, _ = finished("protein", ["kmer1"], "--data", str(proteins))
    assert [(cell["data"], cell["row"]) for cell in cells] == [(proteins.name, "kmer1")]


def test_near_pairs_of_storage_strands(finished):
    rows = ["constant", "pooled+v+r0.98", "pooled+n0.25+r0.98"]
    _, cells, _ = finished("near_pairs", rows, "--data", "storage:300", "--seconds", "0.3")
    assert cells[1]["steps"] == cells[2]["steps"]
    assert all(float(cell["rmse_near"]) > 0 for cell in cells)
    assert [cell["nearest_1"] == "" for cell in cells] == [True, False, False]


def test_strands(finished):
    _, cells, _ = finished("strands", ["constant", "linear", "linear+both"], "--seconds", "0.5")
    assert all(float(cell["rmse"]) > 0 for cell in cells)


def test_the_step_of_long_reads(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "benchmarks")
    benchmark = importlib.import_module("long_reads")
    for part in benchmark.PARTS:
        found = benchmark.measure(part, 60, "cpu", 1)
        assert found["seconds"] > 0
        assert found["bytes"] > 1e6
    assert benchmark.exponent([10, 100, 1000], [3 * n**1.5 for n in (10, 100, 1000)]) == pytest.approx(1.5)
    assert np.isfinite(benchmark.exponent([1, 2], [1.0, 1.0]))


def test_padding(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES / "benchmarks")
    benchmark = importlib.import_module("padding")
    monkeypatch.setattr(benchmark, "FIRST_STEPS", 2)
    path = tmp_path / "reads.txt"
    benchmark.write_reads(path, 400, 60)
    constant, free, alike = (benchmark.measure(path, *options) for options in ((None, 0), (None, 0.3), (0.1, 0.3)))
    assert min(constant.values()) > 0
    assert alike["padding"] < free["padding"] / 2
    assert all(value > 0 for found in (free, alike) for value in found.values())
