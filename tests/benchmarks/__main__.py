"""Measures speed and memory: `python -m tests.benchmarks [NAME ...]`, all of them by default.

peer: what all but inference costs, against ecCodes' bare work and a plain loop. inference: what
surrounds a real network. memory: whether it stays flat. engines: several against one, and what
one size of call costs. sampler: the daemon's against a plain loop. fusion: tiles blended at the
end or at every level. products: what statistics, files and scores cost. soak, only when it is
named: an hour of swaps and failures. Figures and their machine: RESULTS.md.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks import engines, fusion, inference, memory, peer, products, sampler, soak
from tests.conftest import REPOSITORY

BENCHMARKS: Mapping[str, Callable[[Path, str, Path], None]] = {
    "inference": lambda folder, bundle, _: inference.run(folder, bundle),
    "peer": peer.run,
    "memory": memory.run,
    "engines": lambda folder, bundle, _: engines.run(folder, bundle),
    "sampler": sampler.run,
    "fusion": lambda folder, bundle, _: fusion.run(folder, bundle),
    "products": products.run,
}

#: Those that are run only when named: they take an hour.
LONG: Mapping[str, Callable[[Path, str, Path], None]] = {"soak": soak.run}

EVERY = {**BENCHMARKS, **LONG}

#: Those that start Apache Kafka.
NEED_KAFKA = {"peer", "memory"}


def main() -> None:
    """Run what is named, one after the other, each in a folder that is gone afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EVERY))
    parser.add_argument("--bundle", default="gfs-wind-4to1")
    parser.add_argument(
        "--data",
        type=Path,
        default=REPOSITORY.parent / "shared" / "data" / "gfs-wind-1deg" / "train",
        help="a folder of GRIB 2 files, each with 10u and 10v of the globe at 1 degree",
    )
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(EVERY))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(EVERY)}")
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    for name in chosen.names or BENCHMARKS:
        print(f"== {name}", flush=True)
        if missing and name in NEED_KAFKA:
            print(f"skipped: {', '.join(missing)} not found, and Apache Kafka needs them")
            continue
        with tempfile.TemporaryDirectory(prefix="downscaled-bench-") as home:
            EVERY[name](chosen.data, chosen.bundle, Path(home))


if __name__ == "__main__":
    main()
