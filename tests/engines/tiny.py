"""Writes a tiny bundle whose network is known: one convolution, and what it must answer."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.signal import correlate2d

Array = NDArray[np.float32]

CHANNELS, CONSTANTS, TILE, SHAPE = 2, 3, (8, 12), (15, 24)
SIGMA_DATA = 0.5
INPUTS = 2 * CHANNELS + CONSTANTS

MODEL: dict[str, Any] = {
    "format": 1,
    "name": "tiny",
    "channels": ["10u", "10v"],
    "shape": list(SHAPE),
    "tile": list(TILE),
    "overlap": [1, 2],
    "periodic": True,
    "constants": ["orography", "land", "sine of latitude"],
    "labels": [],
    "preconditioning": {"kind": "edm", "sigma_data": SIGMA_DATA},
    "sampler": {"steps": 3, "sigma_max": 5.0, "sigma_min": 0.05, "s_max": None},
    "grib": {"grid": {"rows": 15}},
    "licence": "Apache-2.0",
    "attribution": "made by a test",
    "training": {"states": 0},
}

STATISTICS = {
    "10u": {
        "coarse_mean": 1.0, "coarse_std": 5.0, "fine_mean": 1.5, "fine_std": 6.0,
        "residual_std": 0.25,
    },
    "10v": {
        "coarse_mean": -1.0, "coarse_std": 4.0, "fine_mean": -0.5, "fine_std": 4.5,
        "residual_std": 0.5,
    },
}  # fmt: skip


def kernel() -> Array:
    rng = np.random.default_rng(5)
    return (rng.standard_normal((CHANNELS, INPUTS, 3, 3)) / 8).astype(np.float32)


def network(weights: Array) -> onnx.ModelProto:
    """F(x, c_noise) = conv3x3(x) * (1 + c_noise): linear, but with its noise level."""
    nodes = [
        helper.make_node("Conv", ["x", "weights"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c_noise", "column"], ["level"]),
        helper.make_node("Add", ["level", "one"], ["gain"]),
        helper.make_node("Mul", ["features", "gain"], ["F"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", INPUTS, *TILE]),
            helper.make_tensor_value_info("c_noise", TensorProto.FLOAT, ["B"]),
        ],
        [helper.make_tensor_value_info("F", TensorProto.FLOAT, ["B", CHANNELS, *TILE])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([-1, 1, 1, 1]), "column"),
            numpy_helper.from_array(np.ones(1, np.float32), "one"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model)
    return model


def answer(x: Array, sigma: float, condition: Array) -> Array:
    """D(x, sigma; condition) of the tiny network, in double precision, from the formulas."""
    total = sigma**2 + SIGMA_DATA**2
    scaled = np.concatenate([x, condition]).astype(np.float64) / np.sqrt(total)
    found = np.zeros(x.shape)
    for out, weights in enumerate(kernel().astype(np.float64)):
        for values, window in zip(scaled, weights, strict=True):
            found[out] += correlate2d(values, window, mode="same")
    found *= 1.0 + np.log(sigma) / 4.0
    skip, gain = SIGMA_DATA**2 / total, sigma * SIGMA_DATA / np.sqrt(total)
    return np.asarray(skip * x + gain * found, dtype=np.float32)


def golden() -> dict[str, Array]:
    rng = np.random.default_rng(6)
    sigma = np.array([0.05, 1.0, 40.0], dtype=np.float32)
    x = rng.standard_normal((3, CHANNELS, *TILE)).astype(np.float32)
    condition = rng.standard_normal((3, CHANNELS + CONSTANTS, *TILE)).astype(np.float32)
    denoised = [answer(x[i], float(sigma[i]), condition[i]) for i in range(3)]
    return {
        "x": x,
        "sigma": sigma,
        "condition": condition,
        "denoised": np.stack(denoised),
        "bound": np.array(1e-5, dtype=np.float32),
    }


def write_bundle(folder: Path, fine: tuple[int, int] = SHAPE, **changes: Any) -> Path:
    """Write a whole bundle for a fine grid; `changes` are keys of model.json, None drops one."""
    folder.mkdir(exist_ok=True)
    wanted = {**MODEL, "shape": list(fine), **changes}
    model = {k: v for k, v in wanted.items() if v is not None}
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "statistics.json").write_text(json.dumps(STATISTICS))
    constants = np.random.default_rng(7).standard_normal((CONSTANTS, *fine))
    np.savez(folder / "constants.npz", constants=constants.astype(np.float32))
    np.savez(folder / "golden.npz", **golden())  # type: ignore[arg-type]
    onnx.save(network(kernel()), str(folder / "denoiser.onnx"))
    # A header that names no tensor: its length, and an empty JSON object.
    (folder / "weights.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "README.md").write_text("A tiny model.\n")
    return write_sums(folder)


def add_tuned(folder: Path, factor: float = 0.5) -> Path:
    """Give a tiny bundle a second network, whose kernel is the first one's times a factor."""
    given = golden()
    onnx.save(network(np.float32(factor) * kernel()), str(folder / "tuned.onnx"))
    for i, sigma in enumerate(given["sigma"]):
        # Between the first network's answer and c_skip x the second one's lies in proportion.
        skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2) * given["x"][i]
        given["denoised"][i] = skip + factor * (given["denoised"][i] - skip)
    np.savez(folder / "tuned_golden.npz", **given)  # type: ignore[arg-type]
    shutil.copy(folder / "weights.safetensors", folder / "tuned.safetensors")
    return write_sums(folder)


def write_sums(folder: Path) -> Path:
    """Seal what lies in the folder as it is now."""
    names = sorted(p.name for p in folder.iterdir() if p.name != "SHA256SUMS")
    digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
    lines = [f"{digest}  {name}\n" for digest, name in zip(digests, names, strict=True)]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return folder
