"""The scripts with other people's loaders, README's snippet, and the study of labels."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCRIPTS = {
    "plain_pytorch.py": [],
    "own_loader.py": [],
    "triplet.py": [],
    "classifier.py": [],
    "hugging_face.py": [],
    "hugging_face.py --features": ["--features"],
}


def run(command, folder):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_divergence_falls(name, tmp_path):
    script = EXAMPLES / name.split()[0]
    printed = run([script, *SCRIPTS[name], "--steps", "100"], tmp_path)
    found = [float(value) for value in re.findall(r"L_nw +([0-9.]+)", printed)]
    assert len(found) >= 10
    assert found[-1] < 0.93 * found[0]


@pytest.mark.parametrize("name", sorted({name.split()[0] for name in SCRIPTS}))
def test_it_takes_at_most_three_lines(name):
    lines = (EXAMPLES / name).read_text().splitlines()
    assert len(lines) <= 60
    assert 1 <= sum(bool(re.search(r"# NWA( \d)?$", line)) for line in lines) <= 3


def test_the_snippet_of_readme_is_complete(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (snippet,) = re.findall(r"```python\n(import torch\n.*?)```", readme, re.DOTALL)
    (tmp_path / "snippet.py").write_text(snippet)
    found = re.search(r"L_nw ([0-9.]+) nats", run([tmp_path / "snippet.py"], tmp_path))
    assert found
    assert 0 < float(found[1]) < 25  # about 25 at the start


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_the_study_of_labels_resumes(tmp_path):
    out = tmp_path / "labels.csv"
    command = [EXAMPLES / "study" / "labels.py", "--fast", "--seconds", "0.5", "--out", out]
    run([*command, "--rows", "kmer", "plain"], tmp_path)
    first = out.read_text()
    printed = run([*command, "--rows", "kmer", "plain", "triplet+nwa-w0.1-k1", "autoencoder", "edits"], tmp_path)
    assert out.read_text().startswith(first)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["kmer", "plain", "triplet+nwa-w0.1-k1", "autoencoder", "edits"]
    assert all(-1 <= float(row["test_spearman"]) <= 1 for row in rows)
    assert float(rows[0]["test_family"]) > 50
    assert "| triplet+nwa-w0.1-k1 | 1 |" in printed
    assert float(rows[2]["l_nw"]) > 0


def test_landmarks_in_two_lines(tmp_path):
    script = EXAMPLES / "landmarks.py"
    found = re.search(r"without ([0-9.]+), with landmarks ([0-9.]+)", run([script, "--steps", "40"], tmp_path))
    assert found
    assert float(found[2]) < float(found[1])
    lines = script.read_text().splitlines()
    assert len(lines) <= 60
    assert sum("# landmarks" in line for line in lines) == 2
