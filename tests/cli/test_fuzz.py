"""Any option with any odd value ends in a run or in one line and status 2.

The options come from the parser itself. NWA_FUZZ_EXAMPLES=5000 runs for an hour instead of seconds.
"""

import os
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from quiet import inside

from nwa_lightning.cli.classes import argument_names
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.cli.main import main

#: What would start other processes or programs, wait for other machines, or run for ever.
LEFT_OUT = {
    "config", "data.num_workers", "print_config", "trainer.accelerator", "trainer.devices", "trainer.logger",
    "trainer.max_time", "trainer.num_nodes", "trainer.strategy",
}  # fmt: skip

ENCODERS = (
    "NeuroSEEDCNN",
    "NeuroSEEDTransformer",
    "ResidualCNN",
    "PooledCNN",
    "GRUEncoder",
    "KmerEncoder",
    "CNNED",
    "SENSE",
    "AsMac",
    "EINN",
    "MLPEncoder",
)

ODD = [
    "", " ", "-1", "0", "1", "2", "3", "0.5", "1.5", "nan", "inf", "-inf", "1e-400", "1" + 30 * "0", "null", "true", "false",
    "abc", "é\u2028", "x" * 3000, "[]", "[1]", "{}", "{a: 1}", "{class_path: abc}", "a: b: c", "[1", "'", "$HOME", "none.txt",
    "reads.txt", ".", "/", "2024-01-01", "0x10", "1_000", "torch.nn.Linear", "NeuroSEEDCNN", "hyperbolic", "content", "cut",
]  # fmt: skip

QUIET = ["--trainer.fast_dev_run=1", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def options():
    """Names of all options of ``nwa fit``."""
    cli = NWACLI(["--data.data=tree:60x20", "--trainer.logger=false"], run=False)
    names = {name for name in cli.parser.get_defaults().keys() if name.partition(".")[0] != "model"}  # noqa: SIM118
    names |= {f"model.{name}" for name in argument_names(f"{type(cli.model).__module__}.EditDistanceModel")}
    for encoder in ENCODERS:
        names |= {f"model.encoder.{name}" for name in argument_names(f"nwa_lightning.{encoder}")}
    return sorted(names - LEFT_OUT)


@st.composite
def commands(draw, names):
    args = [f"--model.encoder={draw(st.sampled_from(ENCODERS))}"] if draw(st.booleans()) else []
    for name in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        if draw(st.integers(0, 9)) == 0:  # a slip of the finger
            place = draw(st.integers(0, len(name) - 1))
            name = name[:place] + name[place + 1 :]
        args.append(f"--{name}={draw(st.sampled_from(ODD))}")
    return args


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    with inside(tmp_path_factory.mktemp("names")):
        return options()


@pytest.mark.filterwarnings("ignore")
def test_a_run_or_one_line(names, reads, here, capsys):
    (here / "reads.txt").write_text(reads.read_text())

    @given(commands(names))
    @settings(
        max_examples=int(os.environ.get("NWA_FUZZ_EXAMPLES", "40")),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize="NWA_FUZZ_EXAMPLES" not in os.environ,
    )
    def run(args):
        capsys.readouterr()
        code = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                main(["fit", "--data.data=reads.txt", "--data.batch_size=8", *args, *QUIET])
        except SystemExit as stop:
            code = stop.code
        shown = capsys.readouterr().err.strip().splitlines()
        errors = [line for line in shown if line.startswith("nwa: error: ")]
        assert code in (0, 2), args
        assert errors == (shown[-1:] if code else []), args
        assert not errors or len(errors[0]) < 600, args

    run()
