"""Commands without a model start fast: they load neither torch nor other large packages that they do not need."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nwa_lightning
from nwa_lightning._kernels import default_threads, processors

READS = ">a\nACGTACGTACGT\n>b\nACGTACGAACGT\n>c\nTTGTACGTACGG\n"
#: Packages that take a tenth of a second or more to load.
LARGE = {"torch", "lightning", "torchmetrics", "pandas", "matplotlib", "skbio", "scipy", "faiss", "pyarrow"}
RUN = """
import json, sys
from nwa_lightning.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded(folder, program, *args):
    """Names of the packages that a program has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", program, *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "cluster r.fasta --id 0.9 --members m.tsv",
        "cluster r.fasta --maxdist 2 --threads 2 --centroids c.fasta --uc c.uc",
        "search r.fasta r.fasta",
        "search r.fasta r.fasta --exact --id 0.9 --strand both --blast6out h.txt --paf h.paf",
        "distances r.fasta --out d.tsv",
        "distances r.fasta --fraction --out d.npy",
        "embed --help",
        "index --help",
        "plot --help",
    ],
)
def test_a_command_without_a_model_loads_no_large_package(command, tmp_path):
    (tmp_path / "r.fasta").write_text(READS)
    assert not loaded(tmp_path, RUN, *command.split()) & LARGE


def test_whole_numbers_stay_whole_numbers(tmp_path):
    """Python caches types, so it depends on the order of imports whether the parser tries int or float first."""
    words = ["--data.val_size=27", "--data.test_size=0.5", "--trainer.limit_val_batches=2", "--print_config"]
    done = subprocess.run(
        [sys.executable, "-m", "nwa_lightning", "fit", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for line in ("  val_size: 27\n", "  test_size: 0.5\n", "  limit_val_batches: 2\n"):
        assert line in done.stdout


def test_classes_are_found_by_their_names_alone(tmp_path):
    words = ["--trainer.callbacks+=NWAWeightSchedule", "--model.encoder=SENSE", "--print_config"]
    done = subprocess.run(
        [sys.executable, "-m", "nwa_lightning", "fit", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for name in ("NWAWeightSchedule", "SENSE"):
        assert f"class_path: nwa_lightning.{name}\n" in done.stdout


def test_an_exact_tree_loads_what_its_method_needs(tmp_path):
    (tmp_path / "r.fasta").write_text(READS)
    assert loaded(tmp_path, RUN, "tree", "r.fasta", "--method", "upgma", "--out", "t.nwk") & LARGE == {"scipy"}
    # scikit-bio itself loads pandas, SciPy, and torch if it is there.
    found = loaded(tmp_path, RUN, "tree", "r.fasta", "--method", "nj", "--out", "t.nwk")
    assert "skbio" in found
    assert not found & {"lightning", "torchmetrics", "faiss"}


@pytest.mark.parametrize("torch_first", [True, False])
def test_threads_of_a_model_that_is_loaded_later(torch_first, tmp_path):
    first = "import torch" if torch_first else ""
    program = f"""
import json, os
os.environ.pop("OMP_NUM_THREADS", None)
{first}
from nwa_lightning._kernels import default_threads, set_threads
set_threads(1)
before = default_threads()
import torch
print(json.dumps([before, torch.get_num_threads(), default_threads()]))
"""
    assert loaded(tmp_path, program) == {1}


@pytest.mark.parametrize(("wanted", "threads"), [("3", 3), ("2,5", 2), ("", None), ("0", None), ("many", None)])
def test_default_threads(wanted, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    monkeypatch.delitem(sys.modules, "torch")
    assert default_threads() == threads or (threads is None and default_threads() == processors() >= 1)


def test_public_names_are_imported_when_they_are_used(tmp_path):
    program = """
import json, sys, nwa_lightning
modules = [set(sys.modules)]
for name in ("Sequences", "edit_distances", "Index"):
    assert getattr(nwa_lightning, name).__name__ == name
    modules.append(set(sys.modules))
assert "nwa_lightning.errors" not in modules[0] and "numpy" not in modules[0]
print(json.dumps([name.partition(".")[0] for name in modules[-1]]))
"""
    assert not loaded(tmp_path, program) & LARGE
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = nwa_lightning.Nonsense
    assert {"Index", "NWAHead", "load_encoder"} <= set(dir(nwa_lightning))


def test_the_stub_declares_every_name_of_the_package():
    stub = Path(nwa_lightning.__file__).with_suffix(".pyi").read_text()
    declared = re.findall(r"^from \.[\w.]+ import (\w+) as \1$", stub, re.MULTILINE)
    assert sorted([*declared, "__version__"]) == sorted(nwa_lightning.__all__)
    assert len(declared) == len(set(declared)) == stub.count(" import ")
