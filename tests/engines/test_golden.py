"""An engine is held against every golden case, and a bundle that proves nothing is refused."""

from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_manifest
from engines.denoiser import Array, EngineSpec
from engines.errors import BundleError, EngineError
from engines.golden import cases, check, read_golden
from tests.engines import tiny


class Off:
    """The tiny network's answers, off by a share of their largest value above a level."""

    def __init__(self, share: float, above: float, precision: str = "f32") -> None:
        self._share, self._above, self._precision = share, above, precision

    @property
    def spec(self) -> EngineSpec:
        return EngineSpec("off", self._precision, "cpu", "1", batch=1)

    def denoise(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None = None
    ) -> Array:
        answer = tiny.answer(x[0], float(sigma[0]), condition[0])[None]
        wrong = self._share * np.abs(answer).max() if sigma[0] > self._above else 0.0
        return np.asarray(answer + np.float32(wrong), dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_bundle(tmp_path / "tiny")


def test_each_case_is_told_with_its_error_and_bound(folder: Path) -> None:
    golden = read_golden(open_manifest(folder))

    found = list(cases(Off(1e-3, above=0.5), golden))

    assert [case.index for case in found] == [0, 1, 2]
    assert [case.sigma for case in found] == pytest.approx([0.05, 1.0, 40.0])
    assert [case.error for case in found] == pytest.approx([0.0, 1e-3, 1e-3], abs=1e-6)
    assert [case.is_right for case in found] == [True, False, False]


def test_a_wrong_engine_is_refused_with_level_error_and_bound(folder: Path) -> None:
    golden = read_golden(open_manifest(folder))

    with pytest.raises(EngineError) as refused:
        check(Off(1e-3, above=0.5), golden, "here")

    for words in ("`denoised`[1] at sigma 1", "error 1.00e-03", "bound 1e-05", "2 of 3 cases"):
        assert words in str(refused.value)


def test_an_answer_that_is_no_number_is_wrong(folder: Path) -> None:
    golden = read_golden(open_manifest(folder))

    with pytest.raises(EngineError, match="relative error nan"):
        check(Off(np.nan, above=0.0), golden, "here")


def test_half_precision_is_allowed_its_rounding_and_no_more(folder: Path) -> None:
    golden = read_golden(open_manifest(folder))

    assert check(Off(5e-3, above=0.0, precision="fp16"), golden, "here") == pytest.approx(5e-3, 0.1)
    with pytest.raises(EngineError):
        check(Off(5e-2, above=0.0, precision="fp16"), golden, "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({name: value[:0] for name, value in tiny.golden().items() if value.ndim}, "at least 1"),
        ({"sigma": tiny.golden()["sigma"][:2]}, "wanted the same number of each"),
        ({"bound": np.array(1e3, np.float32)}, "bound is 1000"),
        ({"bound": np.array(0, np.float32)}, "bound is 0"),
        ({"sigma": np.array([0.1, 0.0, 2.0], np.float32)}, "the lowest sigma 0"),
    ],
)
def test_golden_vectors_that_prove_nothing_are_refused(
    folder: Path, changes: dict[str, Array], message: str
) -> None:
    np.savez(folder / "golden.npz", **(tiny.golden() | changes))  # type: ignore[arg-type]
    tiny.write_sums(folder)

    with pytest.raises(BundleError, match=message):
        read_golden(open_manifest(folder))
