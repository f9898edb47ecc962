"""`downscaled bundle info BUNDLE [--plot FILE]`: what decides a bundle's numbers and its cost."""

import argparse
import math
from pathlib import Path

from engines.bundle import Bundle, open_manifest, read_model, weight_shapes
from engines.errors import UsageError
from streamer.commands.bundle_page import facts, page
from streamer.commands.bundle_table import marks
from streamer.commands.console import result, say
from streamer.verify.calls_picture import save_calls

#: Ends of the names of tensors that were not learned.
_BUFFERS = ("resample_filter", "map_noise.freqs")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes, beside the bundle and --json."""
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw what fewer network calls cost in skill"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the page; 0 when it was done. Raises UsageError where there is nothing to draw."""
    bundle = open_manifest(arguments.bundle)
    if arguments.plot is not None:
        _plot(bundle, arguments.plot)
    weights = sum(
        math.prod(shape)
        for name, shape in weight_shapes(bundle).items()
        if not name.endswith(_BUFFERS)
    )
    statistics = dict(zip(bundle.channels, bundle.normalisation, strict=True))
    told = facts(read_model(bundle), statistics, weights)
    size_bytes = sum(path.stat().st_size for path in bundle.path.iterdir())
    if arguments.json:
        result({**told, "digest": bundle.digest, "size_bytes": size_bytes}, as_json=True)
        return 0
    disk = f"## On disk\n{size_bytes / 1e6:.1f} MB in {bundle.path}, digest {bundle.digest}."
    result(f"{page(told)}\n{disk}")
    return 0


def _plot(bundle: Bundle, path: Path) -> None:
    table = bundle.calibration
    drawn = marks(table) if table else ()
    if table is None or not drawn:
        raise UsageError(
            f"{bundle.name} has no table of what calls cost, so there is nothing to draw into "
            f"{path}; run `downscaled bundle calibrate`"
        )
    where = "; ".join(f"{name}: {value}" for name, value in table.told.items())
    try:
        save_calls(drawn, f"{bundle.name}: what network calls cost in skill", where, path)
    except OSError as error:
        raise UsageError(f"--plot {path}: cannot be written: {error.strerror}") from None
    say(f"wrote {path}")
