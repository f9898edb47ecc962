"""Fine fields to GRIB 2: values and a draw's number into a template, read back before it leaves.

`prepare` is called once for each parameter of a step (and statistic), `encode` for each draw,
`encode_statistic` for a statistic, on any thread: a template is bytes, and every call has handles
of its own. The same input is the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streamer.domain import Array
from streamer.grib import codes
from streamer.grib.codes import CodesError, Handle
from streamer.grib.frame import section_offsets
from streamer.grib.imprint import Imprint, refuse_unknown
from streamer.grib.packing import MOST_BITS, Packing, rounding_error
from streamer.grib.param_target import PARAM_TARGETS, ParamTarget
from streamer.grib.simple_packing import read_back
from streamer.grib.statistic import (
    ensemble_keys,
    has_parameter_units,
    refuse_unencodable,
    units_factor,
)
from streamer.grib.target import FieldTarget
from streamer.grib.template import (
    EncodeError,
    Template,
    Wanted,
    found_keys,
    prepare,
    refuse_difference,
)

__all__ = [
    "PARAM_TARGETS",
    "Draw",
    "EncodeError",
    "FieldTarget",
    "Imprint",
    "Packing",
    "ParamTarget",
    "Template",
    "encode",
    "encode_all",
    "encode_statistic",
    "ensemble_size",
    "mars_keys",
    "prepare",
    "refuse_unencodable",
    "refuse_unknown",
]

#: perturbationNumber and numberOfForecastsInEnsemble have 8 bits.
MOST_FORECASTS = 255
#: Where `perturbationNumber` stands in section 4 of all templates that we write, from 0.
#: Source: WMO FM 92, product definition templates 4.1 and 4.11, octet 36.
_NUMBER_AT = 35
#: Section 0 of edition 2 has so many bytes; the last eight are the message's length.
_SECTION_1 = 16


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of a step: its number, from 0, and how many there are."""

    number: int
    of: int


def encode(values: Array, template: Template, draw: Draw) -> bytes:
    """Encode a fine field as one GRIB 2 message.

    values: (H, W) in the bundle's units, rows north to south, on the template's grid.
    Raises EncodeError, with key, what was found and what was wanted, for values that are not
    finite, that need too many bits, or that read back differently; and for too large an ensemble.
    """
    return next(_encoded(values[None], template, [_numbered(template, draw)]))


def encode_all(
    draws: Array, template: Template, first: int = 0, of: int | None = None
) -> Iterator[bytes]:
    """Encode draws of a parameter, (D, H, W), each as `encode` does, to the same bytes.

    first: the number of the first of them. of: how many there are in all, where these are not all.
    One handle takes them all, and ecCodes reads back the first: the others must repeat its
    header, and their values are read from their bytes. A handle costs more than the values.
    """
    numbers = [Draw(first + i, of=of or len(draws)) for i in range(len(draws))]
    return _encoded(draws, template, [_numbered(template, draw) for draw in numbers])


def encode_statistic(values: Array, template: Template, forecasts: int) -> bytes:
    """Encode a statistic of an ensemble, `template.target.statistic`, as one GRIB 2 message.

    values: (H, W); in the bundle's units, a variance in their square, a probability from 0 to 1,
    which leaves as percent. forecasts: how many it was made of, all members and draws together;
    told by derived forecasts only, and as "missing" above 254.
    Raises EncodeError as `encode` does.
    """
    statistic = template.target.statistic
    assert statistic is not None, "a template of draws"
    keys = tuple(ensemble_keys(statistic, forecasts).items())
    return next(_encoded(values[None], template, [_Part(template.target.text, keys)]))


def ensemble_size(members: int, draws: int) -> int:
    """Return how many forecasts the published ensemble has; EncodeError above GRIB's 8 bits."""
    size = members * draws
    if size > MOST_FORECASTS:
        raise EncodeError(
            f"{members} members of {draws} draws are {size} forecasts, "
            f"GRIB's numberOfForecastsInEnsemble holds {MOST_FORECASTS}"
        )
    return size


def mars_keys(template: Template, draw: Draw | None = None) -> dict[str, str]:
    """Return the MARS keys of a message, for headers; a statistic (no draw) has no number."""
    if draw is None:
        return dict(template.mars)
    number = dict(_membership(template, draw))["perturbationNumber"]
    return {**template.mars, "number": str(number)}


@dataclass(frozen=True, slots=True)
class _Part:
    """What tells a field from others of its template: in words, and its keys in the ensemble."""

    text: str
    membership: Wanted


def _numbered(template: Template, draw: Draw) -> _Part:
    return _Part(f"{template.target.text}, draw {draw.number}", _membership(template, draw))


def _encoded(fields: Array, template: Template, parts: Sequence[_Part]) -> Iterator[bytes]:
    target, proven = template.target, b""
    where = target.text
    try:
        with codes.opened(template.message) as handle:
            for values, part in zip(fields, parts, strict=True):
                where, membership = part.text, part.membership
                message, packed, bound = _set(handle, values, template, membership, where)
                header = _header(message)
                is_proven = proven and header == _renumbered(proven, membership)
                found = read_back(message) if is_proven else None
                if found is None:
                    found = _opened_again(message, target, (*template.wanted, *membership), where)
                _refuse_changed(found, packed, bound, where)
                proven = header
                yield message
    except CodesError as error:
        raise EncodeError(f"{where}: ecCodes cannot encode it: {error}") from error


def _set(
    handle: Handle, values: Array, template: Template, membership: Wanted, where: str
) -> tuple[bytes, codes.Values, float]:
    """Return the message, the values that were packed, and how far packing may have moved them."""
    packed = _packed(values, template.target, where)
    low, high = float(packed.min()), float(packed.max())
    bits = _bits(template, low, high)
    if bits > MOST_BITS:
        raise EncodeError(
            f"{where}: values from {low:g} to {high:g} need {bits} bits to keep "
            f"packing.precision, GRIB readers take {MOST_BITS}"
        )
    for key, value in membership:
        handle.set(key, value)
    handle.set("bitsPerValue", bits)
    handle.set_values(packed.ravel())
    return handle.message(), packed, rounding_error(low, high, bits)


def _bits(template: Template, low: float, high: float) -> int:
    """Return the bits a value takes; a precision is one of the parameter's own units."""
    packing, target = template.packing, template.target
    if not has_parameter_units(target.statistic):
        return packing.bits
    return packing.bits_for(target.parameter, low, high)


def _header(message: bytes) -> bytes:
    """Return all that says what a field is, and nothing of its values: up to section 4's end."""
    # The length of the whole message is not part of it.
    return message[:8] + message[_SECTION_1 : section_offsets(message)[5]]


def _renumbered(header: bytes, membership: Wanted) -> bytes:
    """Return the header of another draw of the same parameter."""
    at = 8
    while header[at + 4] < 4:
        at += int.from_bytes(header[at : at + 4])
    number = dict(membership)["perturbationNumber"]
    assert isinstance(number, int)
    return header[: at + _NUMBER_AT] + bytes([number]) + header[at + _NUMBER_AT + 1 :]


def _packed(values: Array, target: FieldTarget, where: str) -> codes.Values:
    """Return the values in the message's units, (H, W) float64."""
    if values.shape != target.grid.shape:
        raise EncodeError(f"{where}: values have shape {values.shape}, grid {target.grid.shape}")
    if not np.isfinite(values).all():
        count = int(values.size - np.isfinite(values).sum())
        raise EncodeError(f"{where}: {count} of {values.size} values are not finite, wanted none")
    packed: codes.Values = values.astype(np.float64)
    factor = units_factor(target.statistic, target.factor)
    return packed if factor == 1.0 else packed / factor


def _membership(template: Template, draw: Draw) -> Wanted:
    """Return the draw's place in the whole ensemble: member * D + draw, of M * D.

    Draws of a pooled step are numbered over all its members.
    """
    run = template.target.key.run
    if run.is_pooled:
        return (
            ("perturbationNumber", draw.number),
            ("numberOfForecastsInEnsemble", ensemble_size(1, draw.of)),
        )
    member = run.member
    # Some centres do not count the control among their members, so M may be too small by one.
    size = ensemble_size(max(template.members, member + 1), draw.of)
    return (
        ("perturbationNumber", member * draw.of + draw.number),
        ("numberOfForecastsInEnsemble", size),
    )


def _opened_again(message: bytes, target: FieldTarget, wanted: Wanted, where: str) -> codes.Values:
    """Return the values as ecCodes reads them; EncodeError where keys differ or values miss."""
    with codes.opened(message) as handle:
        refuse_difference(wanted, found_keys(handle, wanted), target)
        count = handle.integer("numberOfMissing")
        if count:
            raise EncodeError(f"{where}: numberOfMissing is {count}, wanted 0")
        return handle.values()


def _refuse_changed(found: codes.Values, packed: codes.Values, bound: float, where: str) -> None:
    """Raise EncodeError if any value reads back further from its own than packing may move it."""
    if found.size != packed.size:
        raise EncodeError(f"{where}: reads back {found.size} values, wanted {packed.size}")
    found -= packed.ravel()
    worst = float(np.abs(found, out=found).max())
    if not worst <= bound:
        raise EncodeError(
            f"{where}: values read back differ by {worst:g}, wanted at most {bound:g}"
        )
