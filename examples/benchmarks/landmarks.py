"""Reads per second that landmarks embed, from a FASTA file to vectors, on one thread.

Run it with ``python examples/benchmarks/landmarks.py``. The reads are those of human16s with three letters drawn again. Every
row is the median of several runs that take turns. The time includes loading the file, but no imports. The models are
untrained: the time does not depend on the weights. With ``--again`` it prints how long the distances of a read to landmarks take
when it is seen for the first time and for the second time: they are remembered.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved_medians
from torch import Tensor

from nwa_lightning import Encoder, LandmarkEncoder, LandmarkMDS, NWADataModule, ResidualCNN, Sequences, load_sequences
from nwa_lightning.landmarks.distances import landmark_distances, tensor_distances

FEW = 64  # reads for the tensors in place of the kernel
LENGTHS = (150, 500, 1500, 10_000)  # bases of random reads for --again


def write_reads(path: Path, count: int) -> Sequences:
    """Write a FASTA file of ``count`` reads; returns the set that they descend from."""
    known = load_sequences("human16s")
    generator = np.random.default_rng(0)
    codes = known.padded()[generator.integers(len(known), size=count)]
    places = generator.integers(codes.shape[1], size=(count, 3))
    np.put_along_axis(codes, places, generator.integers(codes.min(), codes.max() + 1, places.shape), axis=1)
    letters = np.array(list("..ACGT"))[codes]
    path.write_text("".join(f">{number}\n{''.join(row)}\n" for number, row in enumerate(letters)))
    return known


def embed(path: Path, encoder: Encoder) -> Tensor:
    """Load the file and embed its reads."""
    data = NWADataModule(str(path), nwa_batch_size=0)
    with torch.inference_mode():
        return torch.cat([encoder(batch.tokens) for batch in data.predict_dataloader()])


def seen_again(repeats: int) -> Table:
    """Microseconds of one thread per read, for the first and for the second time, in batches of random reads."""
    table = Table(title=f"Distances to landmarks, batches of {FEW} random reads, one thread")
    for column in ("bases", "landmarks", "first time (us per read)", "second time (us per read)"):
        table.add_column(column, justify="right")
    generator = torch.Generator().manual_seed(0)
    for length in LENGTHS:
        for count in (128, 512):
            codes = torch.randint(2, 6, (count, length), generator=generator, dtype=torch.uint8)
            lengths = torch.full((count,), length)
            times = []
            for _ in range(repeats):
                tokens = torch.randint(2, 6, (FEW, length + 1), generator=generator)  # <sos> is not looked at
                starts = [time.perf_counter()]
                for _ in range(2):
                    landmark_distances(tokens, codes, lengths)
                    starts.append(time.perf_counter())
                times.append(np.diff(starts) / FEW * 1e6)
            first, second = np.median(times, axis=0)
            table.add_row(f"{length:,}", str(count), f"{first:,.1f}", f"{second:,.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--again", action="store_true", help="only time reads that are seen for the first and second time"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.again:
        Console(width=100).print(seen_again(options.repeats))
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "reads.fasta"
        known = write_reads(path, options.reads)
        length = known.max_length
        encoders: dict[str, Encoder] = {
            f"{count} landmarks": LandmarkEncoder(count=count, max_length=length) for count in (128, 512, 1024)
        }
        encoders |= {
            "ResidualCNN": ResidualCNN(length),
            "ResidualCNN and 128 landmarks": LandmarkEncoder(ResidualCNN(length), 128),
            "landmark MDS, 512 landmarks": LandmarkMDS(length, count=512).fit(known),
        }
        for encoder in encoders.values():
            encoder.eval()
            if isinstance(encoder, LandmarkEncoder):
                encoder.landmarks.draw(known)
        runs = {name: lambda encoder=encoder: embed(path, encoder) for name, encoder in encoders.items()}
        seconds = interleaved_medians(runs, options.repeats)
    table = Table(title=f"{options.reads:,} reads of {length} bases, from FASTA to vectors, one thread")
    table.add_column("encoder")
    table.add_column("reads a second", justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{options.reads / value:,.0f}")
    console = Console(width=100)
    console.print(table)

    landmarks = encoders["128 landmarks"].landmarks
    tokens = torch.nn.functional.pad(torch.from_numpy(known.padded()[:FEW].astype(np.int64)), (1, 0), value=1)
    given = (tokens, landmarks.landmarks, landmarks.lengths)
    times = interleaved_medians(
        {"kernel": lambda: landmark_distances(*given), "tensors": lambda: tensor_distances(*given)}, options.repeats
    )
    console.print(
        f"{FEW} reads to 128 landmarks: {1e3 * times['kernel']:.2f} ms by the kernel, "
        f"{1e3 * times['tensors']:.0f} ms by tensors"
    )


if __name__ == "__main__":
    main()
