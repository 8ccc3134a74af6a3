import ast
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", ["write_a_model.py", "subclass_a_model.py"])
def test_example_scripts_run_and_report(name, tmp_path):
    command = [sys.executable, str(EXAMPLES / name), "--steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    values = ast.literal_eval(done.stdout.strip().splitlines()[-1])
    assert 0 < values["train/nwa_loss"] < 151
