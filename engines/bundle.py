"""Reads and verifies a model on disk. Nothing in it is executed, nothing points outside it."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from engines import calibration
from engines.denoiser import Array
from engines.errors import BundleError
from engines.manifest import Manifest, parse
from engines.onnx_guard import external_tensors
from engines.sums import SUMS, file_fault, parse_sums

#: Where the bundles lie that ship with the package.
SHIPPED = Path(__file__).parent / "bundles"

MODEL = "model.json"
NETWORK = "denoiser.onnx"
STATISTICS = "statistics.json"
CONSTANTS = "constants.npz"
GOLDEN = "golden.npz"
WEIGHTS = "weights.safetensors"
CARD = "README.md"
FILES = (MODEL, NETWORK, WEIGHTS, STATISTICS, CONSTANTS, GOLDEN, CARD)
#: The network that every bundle has, and the one that may be tuned through its own few calls.
DENOISER, TUNED = calibration.NETWORKS


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """The names of what one network of a bundle consists of."""

    network: str
    weights: str
    golden: str

    @property
    def all(self) -> tuple[str, str, str]:
        """All of them: a network has each or is none."""
        return self.network, self.weights, self.golden


#: By network. Both are of one architecture and take and give the same arrays.
NETWORKS: Mapping[str, NetworkFiles] = MappingProxyType(
    {
        DENOISER: NetworkFiles(NETWORK, WEIGHTS, GOLDEN),
        TUNED: NetworkFiles("tuned.onnx", "tuned.safetensors", "tuned_golden.npz"),
    }
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Bundle(Manifest):
    """A verified model on disk, seen through one of its networks.

    path: its folder. digest: SHA-256 of SHA256SUMS, and so of everything that the sums cover,
    the other network too. constants: (K, H, W) float32, in the network's units, in the order of
    `constant_names`. networks: those that it has. network_name: the one that is meant.
    """

    path: Path
    digest: str
    constants: Array
    networks: tuple[str, ...] = (DENOISER,)
    network_name: str = DENOISER

    def of(self, network: str) -> "Bundle":
        """Return the same bundle seen through a network. Raises BundleError if it has none such."""
        if network not in self.networks:
            raise BundleError(
                f"{self.path}: has no network {network!r}, it has {', '.join(self.networks)}"
            )
        return replace(self, network_name=network)

    @property
    def network_path(self) -> Path:
        """The ONNX file of the network that is meant."""
        return self.path / NETWORKS[self.network_name].network

    @property
    def weights_path(self) -> Path:
        """The weights of the network that is meant."""
        return self.path / NETWORKS[self.network_name].weights

    @property
    def golden_path(self) -> Path:
        """What the network that is meant must answer."""
        return self.path / NETWORKS[self.network_name].golden


def shipped_names() -> tuple[str, ...]:
    """Return the names of the bundles that ship with the package."""
    if not SHIPPED.is_dir():
        return ()
    return tuple(sorted(p.name for p in SHIPPED.iterdir() if (p / SUMS).is_file()))


def locate(bundle: str | Path) -> Path:
    """Return the folder of a bundle given by path, or by the name of one that ships.

    Raises BundleError that lists what ships, where neither is there.
    """
    if isinstance(bundle, str) and bundle in shipped_names():
        return SHIPPED / bundle
    path = Path(bundle).expanduser()
    if not path.is_dir():
        names = ", ".join(shipped_names()) or "none"
        raise BundleError(f"{bundle}: found no such folder, nor a bundle that ships ({names})")
    return path


def open_manifest(bundle: str | Path) -> Bundle:
    """Read and verify a bundle, given by path or by the name of one that ships.

    Raises BundleError with what was found, what was wanted and in which file.
    """
    path = locate(bundle)
    digest, networks = _verify_sums(path)
    fields = parse(_json(path / MODEL), _json(path / STATISTICS), str(path))
    wanted = (len(fields["constant_names"]), *fields["shape"])
    constants = read_arrays(path / CONSTANTS, {"constants": wanted})["constants"]
    for name in networks:
        _refuse_data_outside(path / NETWORKS[name].network)
    table = fields["calibration"]
    lacking = {row.network for row in table.rows}.difference(networks) if table else ()
    if lacking:
        raise BundleError(
            f"{path / MODEL}: calibration names the network {', '.join(lacking)}, which is not "
            f"there; {SUMS} lists {', '.join(networks)}"
        )
    return Bundle(**fields, path=path, digest=digest, constants=constants, networks=networks)


def read_arrays(path: Path, wanted: Mapping[str, tuple[int | None, ...]]) -> dict[str, Array]:
    """Read float32 arrays from an .npz file; `None` in a shape stands for any length.

    Raises BundleError for a missing array, another shape or dtype, or a number not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in wanted if name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: cannot be read as arrays: {error}") from error
    faults = [_misfit(name, found.get(name), shape) for name, shape in wanted.items()]
    if any(faults):
        raise BundleError(f"{path}: {'; '.join(filter(None, faults))}")
    return found


def weight_shapes(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of the network's weights, read from the file's header alone.

    Raises BundleError where that cannot be read.
    Source: https://github.com/huggingface/safetensors (format).
    """
    path = bundle.weights_path
    try:
        with path.open("rb") as opened:
            size_bytes = int.from_bytes(opened.read(8), "little")
            if size_bytes > path.stat().st_size:
                raise ValueError(f"its header claims {size_bytes} bytes")
            header = json.loads(opened.read(size_bytes))
        return {
            str(name): tuple(int(side) for side in one["shape"])
            for name, one in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleError(f"{path}: cannot be read as safetensors: {error}") from error


def read_model(bundle: Bundle) -> Mapping[str, Any]:
    """Return `model.json` as it stands in the file, with what only people read."""
    found = _json(bundle.path / MODEL)
    assert isinstance(found, Mapping)  # `open_manifest` refused anything else
    return found


def _refuse_data_outside(network: Path) -> None:
    outside = external_tensors(network.read_bytes())
    if outside:
        raise BundleError(
            f"{network}: tensor {outside[0]!r} keeps its data in another file, "
            "wanted all data inside"
        )


def _misfit(name: str, array: Any, shape: tuple[int | None, ...]) -> str:
    if array is None:
        return f"array {name!r} is missing"
    fits = array.ndim == len(shape) and all(
        w in (None, n) for n, w in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype != np.float32:
        words = ", ".join("any" if n is None else str(n) for n in shape)
        return f"array {name!r} is {array.dtype} {array.shape}, wanted float32 ({words})"
    return "" if np.isfinite(array).all() else f"array {name!r} holds numbers that are not finite"


def _verify_sums(path: Path) -> tuple[str, tuple[str, ...]]:
    """Compare every file with its sum; return the digest of the list and the networks in it."""
    listed = path / SUMS
    if not listed.is_file():
        raise BundleError(f"{path}: found no {SUMS}, so this is not a bundle")
    raw = listed.read_bytes()
    sums = parse_sums(raw, listed)
    networks = tuple(name for name, files in NETWORKS.items() if any(f in sums for f in files.all))
    named = dict.fromkeys((*FILES, *(file for name in networks for file in NETWORKS[name].all)))
    faults = [f"{name}: not in {SUMS}" for name in named if name not in sums]
    for name, wanted in sums.items():
        fault = file_fault(path, name, wanted)
        if fault:
            faults.append(f"{name}: {fault}")
    if faults:
        raise BundleError(f"{path}: {'; '.join(faults)}")
    return hashlib.sha256(raw).hexdigest(), networks


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read as JSON: {error}") from error
