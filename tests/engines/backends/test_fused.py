"""The kernels between convolutions compute what the plain layers do, and compile without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="this PyTorch came without Triton")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as compile_kernel

from engines.backends import fused_kernels as kernels

#: Rounding of float32 sums of some thousand numbers, and one unit of the last place of bfloat16.
BOUNDS = {"f32": 2e-6, "network": 1e-5, "bf16": 2.0**-7}

HALF, FULL, WHOLE = "*fp16", "*fp32", "i32"
SIZES = {"points": WHOLE, "channels": WHOLE}
FACTORS = {
    **dict.fromkeys(("partial", "weight", "bias", "before", "factors"), FULL),
    "told": HALF,
    **SIZES,
    "chunks": WHOLE,
    "each": WHOLE,
    "eps": "fp32",
}
#: By kernel, the types of what it is given, and what it is compiled for.
CASES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "_moments": ({"x": HALF, "partial": FULL, **SIZES}, {"ROWS": 32, "LOOPS": 8, "WIDE": 128}),
    "_factors": (FACTORS, {"HOW": kernels.SCALED, "ROWS": 64, "WIDE": 4}),
    "_apply": (
        {"x": HALF, "y": HALF, "factors": FULL, **SIZES},
        {"SILU": True, "ROWS": 32, "WIDE": 128},
    ),
    "_joined": (
        {**dict.fromkeys(("h", "beside", "y"), HALF), "bias": FULL}
        | {"count": WHOLE, "channels": WHOLE, "factor": "fp32"},
        {"SIZE": 1024},
    ),
}


def test_fused_layers_are_the_plain_ones_to_rounding(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.backends.fused_by_hand"],
        cwd=repository,
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["f32"]) == {"nothing", "added", "scaled", "calm", "joined"}
    for kind, errors in found.items():
        for name, error in errors.items():
            assert error <= BOUNDS[kind], (kind, name)


@pytest.mark.parametrize("name", list(CASES))
def test_the_kernels_compile_for_a_gpu_that_is_not_here(name: str) -> None:
    given, constants = CASES[name]
    kernel = kernels.kernel(getattr(kernels, name))
    names = kernel.arg_names
    signature = {name: given.get(name, "constexpr") for name in names}
    fixed = {(names.index(name),): value for name, value in constants.items()}

    built = compile_kernel(ASTSource(kernel, signature, fixed), target=GPUTarget("cuda", 90, 32))

    assert built.asm["cubin"]
