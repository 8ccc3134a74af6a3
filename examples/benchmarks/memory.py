"""Peak memory of ``nwa fit``, and the files that it leaves on the disk.

Run it with ``python examples/benchmarks/memory.py``; further options are passed on to ``nwa fit``, as in
``python examples/benchmarks/memory.py --data.nwa_batch_size 64``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = ["--trainer.max_steps", "220", "--trainer.limit_val_batches", "2"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nwa_lightning", "fit", *STEPS, *sys.argv[1:]]
        subprocess.run(command, cwd=folder, check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(f"peak memory: {peak / 2**20:,.0f} MiB")
        print("written:")
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                print(f"  {path.relative_to(folder)}  {path.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
