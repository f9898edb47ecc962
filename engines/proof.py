"""What an engine has shown before it may serve, kept beside it."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.cache import EngineKey, engine_folders, key_of, size_bytes, write_whole

PROOF = "proof.json"
#: The version of the file below; another one counts as no proof.
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An engine held against its bundle's golden vectors, and timed, in a process of its own.

    bundle: its name. error: the largest over all cases, relative, and the bound it kept.
    seconds: of one call, by number of tiles, the best of a few. opened_s: to load or compile it.
    peak_bytes: of that whole process, on the host. device_bytes: what its GPU held more at the end.
    proven_at: ISO 8601, UTC.
    fault: why it may not serve, "" where it may; the figures are 0 then.
    """

    key: EngineKey
    bundle: str
    proven_at: str
    cases: int = 0
    error: float = 0.0
    bound: float = 0.0
    seconds: Mapping[int, float]
    opened_s: float = 0.0
    peak_bytes: int = 0
    device_bytes: int = 0
    fault: str = ""

    @property
    def seconds_a_tile(self) -> float:
        """The least time that a tile costs, over all batch sizes; infinite where none was timed."""
        costs = (value / tiles for tiles, value in self.seconds.items())
        return min(costs, default=math.inf)


@dataclass(frozen=True, slots=True)
class Kept:
    """An engine in a cache: its folder, what it has shown, and its size on disk."""

    folder: Path
    proof: Proof
    size_bytes: int


def write_proof(folder: Path, proof: Proof) -> None:
    """Lay the proof into the engine's folder."""
    plain = asdict(proof) | {"format": _FORMAT, "seconds": dict(proof.seconds)}
    text = json.dumps(plain, indent=1, sort_keys=True)
    write_whole(folder / PROOF, f"{text}\n".encode())


def read_proof(folder: Path) -> Proof | None:
    """Return what lies in an engine's folder; None where nothing does that this version reads."""
    try:
        plain: dict[str, Any] = json.loads((folder / PROOF).read_text(encoding="utf-8"))
        if plain.pop("format") != _FORMAT:
            return None
        seconds = {int(batch): float(value) for batch, value in plain.pop("seconds").items()}
        return Proof(**{**plain, "key": key_of(plain["key"]), "seconds": seconds})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def proof_of(cache: Path, key: EngineKey) -> Proof | None:
    """Return the proof of exactly this engine, or None."""
    found = read_proof(cache / key.folder)
    return found if found is not None and found.key == key else None


def kept(cache: Path) -> list[Kept]:
    """Return the engines of a cache whose proofs can be read, the newest first."""
    found = [(folder, read_proof(folder)) for folder in engine_folders(cache)]
    engines = [Kept(folder, proof, size_bytes(folder)) for folder, proof in found if proof]
    return sorted(engines, key=lambda engine: engine.proof.proven_at, reverse=True)
