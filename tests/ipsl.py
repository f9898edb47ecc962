"""Makes what a user of IPSL-AID has: a checkpoint, its statistics and its constants' file.

The weights are random, so that no output is zero, and the network narrow.
`python -m tests.ipsl FOLDER` writes one to try things with.
"""

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import netcdf_file

from engines.networks import NetworkSettings, build

VARIABLES = ("VAR_2T", "VAR_10U", "VAR_10V", "VAR_TP", "VAR_D2M", "VAR_ST")
CONSTANTS = ("z", "lsm")
#: Of each variable, in the units that the checkpoint's makers use; precipitation in m an hour.
CLIMATE: Mapping[str, tuple[float, float]] = {
    "VAR_2T": (278.5, 21.2),
    "VAR_10U": (-0.1, 5.5),
    "VAR_10V": (0.2, 4.7),
    "VAR_TP": (1.0e-4, 3.5e-4),
    "VAR_D2M": (274.0, 20.5),
    "VAR_ST": (279.4, 22.0),
}


@dataclass(frozen=True)
class Files:
    """Where the three files lie, and the command that imports them."""

    checkpoint: Path
    statistics: Path
    constants: Path
    shape: tuple[int, int]

    def command(self, output: Path, *more: str) -> list[str]:
        """Return the arguments of `downscaled`."""
        rows, columns = self.shape
        return [
            *("bundle", "import", str(self.checkpoint), "--statistics", str(self.statistics)),
            *("--constants", str(self.constants), "--output", str(output)),
            *("--grid", str(rows), str(columns), *more),
        ]


def write(
    folder: Path,
    architecture: str = "ddpmpp",
    precond: str = "edm",
    *,
    shape: tuple[int, int] = (91, 180),
    tile: tuple[int, int] = (32, 48),
    width: int = 16,
    **args: Any,
) -> Files:
    """Write the three files for a globe of `shape`; `args` go over those of the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Files(
        folder / f"{architecture}_{precond}_best_model.pth.tar",
        folder / "statistics.json",
        folder / "constants.nc",
        shape,
    )
    torch.save(checkpoint(architecture, precond, tile=tile, width=width, **args), files.checkpoint)
    files.statistics.write_text(json.dumps(statistics()))
    write_constants(files.constants, shape)
    return files


def settings(
    architecture: str, precond: str, tile: tuple[int, int] = (32, 48), width: int = 16
) -> NetworkSettings:
    """Return a narrow network of the family with everything that its full one has."""
    outputs, beside = len(VARIABLES), 2 + len(CONSTANTS)
    is_direct = precond == "unet"
    return NetworkSettings(
        inputs=outputs * (1 if is_direct else 2) + beside,
        outputs=outputs,
        tile=tile,
        architecture=architecture,
        width=width,
        multipliers=(1, 2, 2, 2) if architecture == "adm" else (1, 2, 2),
        blocks=1,
        attention=(32, 16, 8) if architecture == "adm" else (16,),
        labels=4,
        direct=is_direct,
    )


def checkpoint(
    architecture: str = "ddpmpp",
    precond: str = "edm",
    *,
    tile: tuple[int, int] = (32, 48),
    width: int = 16,
    **args: Any,
) -> dict[str, Any]:
    """Return what such a checkpoint holds; `args` go over its own, None drops one."""
    wanted = settings(architecture, precond, tile, width)
    network = randomised(wanted)
    prefix = "" if precond == "unet" else "model."
    beside = wanted.inputs if precond == "unet" else wanted.inputs - wanted.outputs
    stated = {
        "arch": architecture,
        "precond": precond,
        "in_channels": beside if precond == "unet" else wanted.outputs,
        "cond_channels": beside,
        "out_channels": wanted.outputs,
        "varnames_list": list(VARIABLES),
        "normalization_types": {
            name: "log1p_standard" if name == "VAR_TP" else "standard" for name in VARIABLES
        },
        "constant_varnames_list": list(CONSTANTS),
        "units_list": ["K", "m/s", "m/s", "m/h", "K", "K"],
        "time_normalization": "cos_sin",
        "apply_filter": False,
        "tbatch": 1800,
        "sbatch": 12,
        "num_steps": 4,
        "sigma_min": 0.02,
        "sigma_max": 10.0,
        "rho": 7,
        "s_churn": 0,
        "s_min": 0,
        "s_max": float("inf"),
        "s_noise": 1,
        "year_start": 2015,
        "year_end": 2019,
        **args,
    }
    return {
        "epoch": 16,
        "state_dict": {prefix + name: value for name, value in network.state_dict().items()},
        "args": {key: value for key, value in stated.items() if value is not None},
        "optimizer": {"state": {}},
        "best_val_loss": 0.03,
    }


def randomised(wanted: NetworkSettings) -> torch.nn.Module:
    """Return a network whose every weight is random but tame: fresh ones are zero in places."""
    torch.manual_seed(0)
    network = build(wanted)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, 0.6 / weight[0].numel() ** 0.5)
            elif name.endswith("weight"):
                weight.uniform_(0.8, 1.2)
            else:
                weight.normal_(0.0, 0.05)
    return network.eval()


def statistics() -> dict[str, dict[str, float]]:
    """Return the statistics file's value, of fine and coarse fields and of their logarithm."""
    found = {}
    for name, (mean, deviation) in CLIMATE.items():
        for side, share in (("fine", 1.0), ("coarse", 0.97), ("residual", 0.2)):
            found[f"{name}_{side}"] = _entry(mean, deviation * share)
    for side, share in (("fine", 1.0), ("coarse", 0.9)):
        mean, deviation = CLIMATE["VAR_TP"]
        found[f"VAR_TP_{side}_log"] = _entry(np.log1p(mean), np.log1p(deviation * share))
    return found


def write_constants(
    path: Path, shape: tuple[int, int], *, names: tuple[str, ...] = CONSTANTS
) -> None:
    """Write geopotential and land-sea mask of a made-up world on a global grid, NetCDF 3."""
    rows, columns = shape
    latitude = np.linspace(90.0, -90.0, rows)
    longitude = np.arange(columns) * 360.0 / columns
    wave = np.sin(np.deg2rad(3 * longitude)) * np.cos(np.deg2rad(latitude))[:, None]
    fields = {"z": 4000.0 * wave + 3000.0, "lsm": np.clip(wave, 0.0, 1.0)}
    with netcdf_file(path, "w") as file:
        for name, values in (("latitude", latitude), ("longitude", longitude)):
            file.createDimension(name, len(values))
            file.createVariable(name, "f4", (name,))[:] = values
        file.createDimension("time", 1)
        for name in names:
            file.createVariable(name, "f4", ("time", "latitude", "longitude"))[:] = fields[name]


def _entry(mean: float, deviation: float) -> dict[str, float]:
    """Return the eight numbers of one entry."""
    low, high = mean - 4 * deviation, mean + 4 * deviation
    quarter = 0.6745 * deviation
    return {
        "vmin": float(low),
        "vmax": float(high),
        "vmean": float(mean),
        "vstd": float(deviation),
        "q1": float(mean - quarter),
        "q3": float(mean + quarter),
        "iqr": float(2 * quarter),
        "median": float(mean),
    }


def main(folder: Path) -> None:
    """Write the three files and print the command that imports them."""
    files = write(folder, "adm")
    print(shlex.join(["downscaled", *files.command(folder / "bundle")]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.ipsl FOLDER")
    main(Path(sys.argv[1]))
