"""Finds tensors of an ONNX file that keep their data elsewhere, without the onnx package.

A tensor may name any path of the machine as the place of its data, so a bundle with one is
refused before a runtime sees it. Only the few nested fields that can hold a tensor are followed.
Source: onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), and the wire format
of protocol buffers (https://protobuf.dev/programming-guides/encoding/).
"""

from collections.abc import Iterator, Mapping

from engines.errors import BundleError

#: For each kind of message, the fields that may lead to a tensor, and the kind they hold.
_PATHS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def external_tensors(raw: bytes) -> list[str]:
    """Return the names of all tensors whose data lie outside the file.

    Raises BundleError for bytes that are no ONNX model.
    """
    try:
        return list(_search(memoryview(raw), "model"))
    except (IndexError, ValueError, RecursionError) as error:
        raise BundleError(f"denoiser.onnx: cannot be read as ONNX: {error}") from error


def _search(raw: memoryview, kind: str) -> Iterator[str]:
    if kind == "tensor":
        yield from _external(raw)
        return
    for number, value in _fields(raw):
        inner = _PATHS[kind].get(number)
        if inner is not None and isinstance(value, memoryview):
            yield from _search(value, inner)


def _external(raw: memoryview) -> Iterator[str]:
    name, is_external = "", False
    for number, value in _fields(raw):
        if number == _TENSOR_NAME and isinstance(value, memoryview):
            name = bytes(value).decode("utf-8", "replace")
        is_external |= number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == 1)
    if is_external:
        yield name


def _fields(raw: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (field number, value) of one message; values of fixed width are passed over."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
        elif wire == _LENGTH:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ValueError(f"field {number} claims {size} bytes, {len(raw) - at} are left")
            yield number, raw[at : at + size]
            at += size
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire} of field {number} is not known")


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
