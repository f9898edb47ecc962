"""Resizes a field as an image: the coarse operator of networks that learned from such images.

Bilinear with antialiasing, points as the middles of boxes, nothing periodic: what
`torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False)` does, as
one small matrix a direction.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from streamer.domain import Array


def resize(values: NDArray[np.floating[Any]], shape: tuple[int, int]) -> Array:
    """Take a field, (h, w), to another number of rows and columns over the same area.

    Returns float32; constants stay what they are, and nothing leaves the range of the values.
    """
    field = np.asarray(values, dtype=np.float64)
    rows, columns = weights(field.shape[0], shape[0]), weights(field.shape[1], shape[1])
    # In this order the larger of the two fields is never transposed, which would copy it.
    if rows.shape[0] <= rows.shape[1]:
        return np.asarray((columns @ (rows @ field).T).T, dtype=np.float32, order="C")
    return np.asarray(rows @ (columns @ field.T).T, dtype=np.float32)


@lru_cache(maxsize=16)
def weights(points: int, wanted: int) -> csr_array:
    """Return the matrix, (wanted, points), of a resize along one direction; each row sums to 1.

    A wanted point takes its neighbours by a triangle as wide as a box of the coarser of the two
    on either side; beyond the edge there is nothing, so the rest counts for more.
    """
    ratio = points / wanted
    half_width = max(ratio, 1.0)
    middles = (np.arange(wanted) + 0.5) * ratio
    away = np.abs(np.arange(points) + 0.5 - middles[:, None]) / half_width
    triangle = np.clip(1.0 - away, 0.0, None)
    return csr_array(triangle / triangle.sum(axis=1, keepdims=True))
