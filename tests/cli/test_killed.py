"""Processes that are killed without a warning: the same command continues, and the result has the same bytes."""

import hashlib
import subprocess
import sys
import time

import pytest

from nwa_lightning import load_sequences
from nwa_lightning.cli.main import main
from nwa_lightning.search import partition

PART_BYTES = 60_000

# A process that stops for good when it is about to give a file its name.
PROCESS = f"""
import os, sys, time
from pathlib import Path

from nwa_lightning.cli.main import main
from nwa_lightning.search import partition

def replace(one, two):
    if Path(two).name == sys.argv[1]:
        time.sleep(600)
    moved(one, two)

moved, os.replace = os.replace, replace
partition.PART_BYTES = {PART_BYTES}
main(sys.argv[2:])
"""


def killed_at(name, folder, *args):
    """Start a command, and kill it when it has written a file that has no name yet."""
    process = subprocess.Popen([sys.executable, "-c", PROCESS, name, *args])
    try:
        while not (folder / f"{name}.part").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -9
    assert (folder / f"{name}.part").exists()
    assert not (folder / name).exists()


def digests(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture
def embed(here, monkeypatch):
    """The command that embeds some reads into a folder, and parts of the size that the processes use."""
    monkeypatch.setattr(partition, "PART_BYTES", PART_BYTES)
    (here / "reads.txt").write_text("\n".join(load_sequences("tree:10000x60").to_strings()) + "\n")
    return lambda folder: [
        "embed", "reads.txt", "--out", folder, "--landmarks=32", "--trainer.accelerator=cpu", "--trainer.devices=1"
    ]  # fmt: skip


def test_embedding_and_indexing(here, embed):
    """Reads are split, shards are written, shards are indexed: each is interrupted once."""
    main(embed("whole"))
    killed_at("split.json", here / "out" / ".parts", *embed("out"))
    killed_at("00004.parquet", here / "out", *embed("out"))
    assert [path.name for path in sorted((here / "out").glob("*.parquet"))] == [
        f"0000{number}.parquet" for number in range(4)
    ]
    main(embed("out"))
    assert digests(here / "out") == digests(here / "whole")
    assert len(digests(here / "out")) == 2 + 10
    index = ["index", "out", "--kind=ivf"]
    main(["index", "whole", "--kind=ivf"])
    killed_at("00005.faiss", here / "out" / "index", *index)
    assert len(list((here / "out" / "index").glob("0*.faiss"))) == 5
    main(index)
    assert digests(here / "out") == digests(here / "whole")
    assert len(digests(here / "out")) == 2 + 10 + 3 + 10
