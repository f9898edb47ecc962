"""The plainest loop over a network of IPSL-AID, from the published formulas, with torch alone.

Resize, normalise, label, sample, denormalise: what the daemon must give, to rounding. It shares
with the daemon the names of draws and their noise, and MIR's way to the network's grid.
"""

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import netcdf_file

from engines.networks import build
from engines.noise import Window, draw
from streamer.domain import Array, Grid, StepKey
from streamer.downscale.tiles import Tile
from streamer.downscale.work import noise_keys
from streamer.grib import codes, regrid
from streamer.grib.identity import identify
from streamer.grib.manifest import Coarse
from tests import ipsl
from tests.end_to_end.six import APART, NAMES, REFERENCE_TIME, Replayed, keys_of


def told(forecast: Replayed, step: int) -> torch.Tensor:
    """Return what the network is told: coarse fields as it learned from, places, constants."""
    globe = forecast.imported.globe
    fields = np.stack([network_units(forecast, name, step) for name in NAMES])
    coarse = resized(resized(torch.from_numpy(fields)[None].float(), globe.coarse), globe.shape)[0]
    for i, variable in enumerate(ipsl.VARIABLES):
        if variable == "VAR_TP":
            coarse[i] = torch.log1p(coarse[i])
        mean, deviation = line(variable, "coarse")
        coarse[i] = (coarse[i] - mean) / deviation
    return torch.cat([coarse, constants(forecast)])


def constants(forecast: Replayed) -> torch.Tensor:
    """Return places and constants of the globe as the network learned them, (4, H, W)."""
    shape = forecast.imported.globe.shape
    latitude = np.linspace(90.0, -90.0, shape[0])
    longitude = np.arange(shape[1]) * 360.0 / shape[1]
    with netcdf_file(forecast.imported.files.constants, mmap=False) as file:
        z, lsm = (np.array(file.variables[name][:]).reshape(shape) for name in ("z", "lsm"))
    area = np.broadcast_to(np.cos(np.deg2rad(latitude))[:, None], shape)
    mean = np.average(z, weights=area)
    deviation = math.sqrt(np.average((z - mean) ** 2, weights=area))
    across = 2 * longitude / longitude[-1] - 1
    places = np.broadcast_arrays(latitude[:, None] / 90, across)
    return torch.from_numpy(np.stack([*places, (z - mean) / deviation, lsm])).float()


def sampled(
    forecast: Replayed, condition: torch.Tensor, tile: Tile, step: int, number: int
) -> Array:
    """Return one draw of one tile in physical units, (C, h, w), by deterministic Heun."""
    columns = np.arange(tile.column, tile.column + tile.width) % condition.shape[2]
    cut = condition[:, tile.row : tile.row + tile.height][..., columns]
    denoise = denoiser(forecast, cut, step)
    levels = forecast.imported.globe.levels
    ramp = np.linspace(10.0 ** (1 / 7), 0.02 ** (1 / 7), levels) ** 7
    x = ramp[0] * start(forecast, tile, step, number)
    for level, after in zip(ramp, [*ramp[1:], 0.0], strict=True):
        slope = (x - denoise(x, level)) / level
        trial = x + (after - level) * slope
        if after > 0:
            slope = (slope + (trial - denoise(trial, after)) / after) / 2
        x = x + (after - level) * slope
    fine = np.array((cut[: len(NAMES)] + x).numpy(), dtype=np.float32)
    for i, variable in enumerate(ipsl.VARIABLES):
        mean, deviation = line(variable, "fine")
        fine[i] = fine[i] * deviation + mean
        if variable == "VAR_TP":
            fine[i] = np.expm1(fine[i])
    return fine


def denoiser(
    forecast: Replayed, condition: torch.Tensor, step: int
) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Return D(x, sigma) of EDM around the checkpoint's network, of deviation 1."""
    globe, files = forecast.imported.globe, forecast.imported.files
    network = build(ipsl.settings("ddpmpp", "edm", globe.tile, globe.width))
    state = torch.load(files.checkpoint, weights_only=True)["state_dict"]
    network.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
    network.eval()
    time = REFERENCE_TIME + timedelta(hours=step)
    days = (time - datetime(2000, 1, 1, tzinfo=UTC)) / timedelta(days=1)
    angles = [math.tau * days / 365.25, math.tau * time.hour / 24]
    labels = torch.tensor([[f(a) for a in angles for f in (math.sin, math.cos)]])

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        total = sigma**2 + 1
        joined = torch.cat([x, condition]) / math.sqrt(total)
        with torch.no_grad():
            raw = network(joined[None].float(), torch.tensor([math.log(sigma) / 4]), labels)[0]
        clean: torch.Tensor = x / total + raw * sigma / math.sqrt(total)
        return clean

    return denoise


def obedient(draw: NDArray[Any]) -> NDArray[Any]:
    """Return a draw, (C, ...), without rain below 0 or dew points above the temperature."""
    made = draw.copy()
    rain, dew, warm = (NAMES.index(name) for name in ("tp", "2d", "2t"))
    made[rain] = np.maximum(made[rain], 0.0)
    made[dew] = np.minimum(made[dew], made[warm])
    return made


def start(forecast: Replayed, tile: Tile, step: int, number: int) -> torch.Tensor:
    """Return the noise that belongs to the draw's name and the tile's place."""
    key = identify(forecast.given["2t", step], ())
    assert isinstance(key, StepKey)
    globe = forecast.imported.globe
    name = noise_keys(key, [number])[0]
    rows, columns = (tile.row, tile.row + tile.height), (tile.column, tile.column + tile.width)
    return torch.from_numpy(draw(name, 0, len(NAMES), Window(rows, columns, globe.shape[1])))


def resized(values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Resize as IPSL-AID does."""
    return torch.nn.functional.interpolate(
        values, size=shape, mode="bilinear", antialias=True, align_corners=False
    )


def line(variable: str, side: str) -> tuple[float, float]:
    """Return mean and deviation of a variable's normalisation."""
    ending = "_log" if variable == "VAR_TP" else ""
    entry: Mapping[str, float] = ipsl.statistics()[f"{variable}_{side}{ending}"]
    return entry["vmean"], entry["vstd"]


def spreads() -> list[float]:
    """Return each channel's deviation where it is normalised: the measure of an error."""
    return [line(variable, "fine")[1] for variable in ipsl.VARIABLES]


def network_units(forecast: Replayed, name: str, step: int) -> codes.Values:
    """Return a field as the network knows it: precipitation as what fell in an hour, metres."""
    now = given(forecast, name, step)
    if name != "tp":
        return now
    if forecast.sender.gathers_from_start and step > APART:
        now = now - given(forecast, name, step - APART)
    return np.asarray(now / APART / forecast.sender.rain_per_metre)


def given(forecast: Replayed, name: str, step: int) -> codes.Values:
    """Return a coarse message's values on the network's fine grid, (H, W)."""
    with codes.opened(forecast.given[name, step]) as handle:
        values = handle.values().reshape(forecast.sender.shape)
    shape = forecast.imported.globe.shape
    if forecast.sender.shape == shape:
        return values
    fine, found = (Grid(90.0, 0.0, 180 / (s[0] - 1), 360 / s[1], *s) for s in (shape, values.shape))
    onto = Coarse(fine, "grid-box-average")
    return regrid.to_coarse(values, found, onto).astype(np.float64)


def published(forecast: Replayed, step: int, name: str, number: int) -> codes.Values:
    """Return a published field in the network's units, (H, W)."""
    wanted = (forecast.sender.names[name], number)
    names = "shortName", "perturbationNumber"
    (found,) = (m for m in forecast.fine(step) if keys_of(m, *names) == wanted)
    with codes.opened(found) as handle:
        values = handle.values().reshape(forecast.imported.globe.shape)
    return np.asarray(values / APART / forecast.sender.rain_per_metre) if name == "tp" else values
