import ast
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


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
