"""What an operator may choose about an engine, and the words for it."""

from dataclasses import dataclass
from pathlib import Path

from engines.errors import UsageError

#: Every backend by its word; `auto` takes the fastest that this machine has the parts for.
BACKENDS = ("auto", "openvino", "onnxruntime", "torch", "tensorrt", "gaussian")
#: Every precision by its word; which of them a backend has is its own to say.
PRECISIONS = ("f32", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """How a bundle is to be run; None leaves a choice to the backend.

    precision: of the network's arithmetic; all around it is float32 in any case.
    threads: of the runtime, on a CPU. Sums are split among threads, so the last bits depend on
    their number: hosts that must give the same bytes need the same number.
    device: `cpu`, `cuda` or `cuda:1`. batch: the most tiles in one call.
    cache: a folder of mode 0700 for what a backend compiles; None compiles at every start.
    compiled: whether torch.compile makes PyTorch's kernels: minutes at every start, and a compiler.
    """

    backend: str = "auto"
    precision: str | None = None
    threads: int | None = None
    device: str | None = None
    batch: int | None = None
    cache: Path | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        """Refuse words and numbers that no backend knows, all faults at once."""
        checks = [
            (
                f"engine.backend is {self.backend!r}, wanted one of {', '.join(BACKENDS)}",
                self.backend not in BACKENDS,
            ),
            (
                f"engine.precision is {self.precision!r}, wanted one of {', '.join(PRECISIONS)}",
                self.precision not in (None, *PRECISIONS),
            ),
            (
                f"engine.compiled is true and engine.backend {self.backend}, wanted torch",
                self.compiled and self.backend != "torch",
            ),
        ]
        checks += [
            (f"engine.{name} is {value}, wanted at least 1", value is not None and value < 1)
            for name, value in (("threads", self.threads), ("batch", self.batch))
        ]
        faults = [text for text, is_wrong in checks if is_wrong]
        if faults:
            raise UsageError("; ".join(faults))


def chosen_precision(choice: EngineChoice, backend: str, known: tuple[str, ...]) -> str:
    """Return the precision asked for, or the first of those that the backend knows.

    Raises UsageError naming those known, where another one is asked for.
    """
    if choice.precision is None:
        return known[0]
    if choice.precision not in known:
        raise UsageError(
            f"precision {choice.precision!r} is not known to the {backend} backend, "
            f"wanted one of {', '.join(known)}"
        )
    return choice.precision


def buckets(batch: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and `batch` itself: the shapes of an engine for up to `batch` tiles."""
    doubling = [1]
    while doubling[-1] * 2 < batch:
        doubling.append(doubling[-1] * 2)
    return tuple(doubling) if batch == 1 else (*doubling, batch)
