"""Scores a bundle on states that nothing was chosen by: `python -m tests.benchmarks.skill`.

Area weighted, whole globe, with intervals by day, spectra of single draws, the poles and the date
line apart, and the ridge regression that learnt from the same states beside it. One JSON object
goes to standard output.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from engines.bundle import open_manifest
from engines.open import open_bundle
from streamer.archive import read_archive
from streamer.skill import score, trial_of
from streamer.verify.ridge import fit_ridge
from tests.conftest import REPOSITORY

WINDS = REPOSITORY.parent / "shared" / "data" / "gfs-wind-1deg"


def main() -> None:
    """Score, tell each state on standard error, print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", help="a folder, or a name that ships")
    parser.add_argument("--on", type=Path, default=WINDS / "validate", help="fine GRIB to score on")
    parser.add_argument("--learnt", type=Path, default=WINDS / "train", help="for the regression")
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    bundle = open_manifest(chosen.bundle)
    archive, known = read_archive(chosen.on), read_archive(chosen.learnt)
    trial = trial_of(archive, range(len(archive.keys)), bundle)
    denoiser = open_bundle(bundle, threads=chosen.threads)
    found = score(
        bundle, denoiser, bundle.sampler, trial, chosen.draws,
        lambda done, states: print(f"{done} of {states}", file=sys.stderr, flush=True),
    )  # fmt: skip
    held = set(bundle.training["held_back_days"])
    is_held = np.array([str(key.valid_time.date()) in held for key in known.keys])
    other = trial_of(known, range(len(known.keys)), bundle)
    parts = [(other.truth[part], other.twin[part]) for part in (~is_held, is_held)]
    coarse = bundle.grib["coarse"]["grid"][0] / bundle.grib["grid"]["spacing_lon"]
    ridge = fit_ridge(parts[0], parts[1], reach=max(1, round(coarse / 2)))
    missed = trial.errors(ridge.predict(trial.twin))
    told = {
        name: one.plain() | {"ridge_rmse": missed[channel]}
        for channel, (name, one) in enumerate(found.items())
    }
    print(json.dumps({"bundle": bundle.name, "digest": bundle.digest, **told}, indent=1))


if __name__ == "__main__":
    main()
