"""What must hold on a device before its figures mean anything."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from engines import sampler
from engines.backends.torch import TorchDenoiser, TorchSettings
from engines.denoiser import Array
from engines.errors import OutOfMemory
from engines.golden import bound_of, read_golden, relative_error
from tests.benchmarks.gpu_cases import Case

Check = dict[str, Any]
#: Share of the card that the test of a lack of memory leaves, and tiles that then do not fit.
LEFT, TOO_MANY = 0.03, 64
#: Relative difference of two runs of a few levels by the same kernels: what surrounds the network
#: rounds differently, and half precision makes steps of its own of the last bits.
SAME = {"f32": 1e-4, "fp16": 1e-2, "bf16": 8e-2}
#: What libraries keep for themselves on a device.
SLACK_BYTES = 128 << 20


def checks(case: Case, device: torch.device) -> Iterator[Check]:
    """Run every check that fits the case and the device; each tells whether it is `ok`."""
    for precision in ("f32", "fp16", "bf16"):
        settings = TorchSettings(precision, str(device), (1, 4))
        engine = TorchDenoiser(case.make(), case.shape, case.around, settings)
        facts = {"network": case.name, "precision": precision}
        if case.bundle is not None:
            yield facts | _golden(case, engine)
        for churn in (0.0, 10.0):
            yield facts | _sample_is_the_loop(case, engine, churn)
        yield facts | _company_plays_no_part(case, engine)
        yield facts | _repeats(case, engine)
        # Its graphs hold memory that the next one may need.
        del engine
    if device.type == "cuda" and case.costly:
        yield {"network": case.name, "precision": "fp16"} | _memory_lacks(case, device)


def _golden(case: Case, engine: TorchDenoiser) -> Check:
    assert case.bundle is not None
    golden = read_golden(case.bundle)
    # All cases in one call, so that another bucket is tried than `golden.check` does.
    found = engine.denoise(golden.x, golden.sigma, golden.condition, golden.labels)
    error = max(map(relative_error, found, golden.denoised))
    bound = bound_of(golden, engine.spec.precision)
    return {"check": "golden vectors", "error": error, "bound": bound, "ok": error <= bound}


def _sample_is_the_loop(case: Case, engine: TorchDenoiser, churn: float) -> Check:
    settings = replace(case.sampler, s_churn=churn)
    _, _, condition, labels = case.arrays(3)
    shape = (sampler.noises(settings), 3, case.shape.outputs, *case.shape.tile)
    noise = np.random.default_rng(2).standard_normal(shape, dtype=np.float32)
    found = engine.sample(noise, settings, condition, labels)

    def denoise(x: Array, sigma: float) -> Array:
        # All tiles in one call, so that the same kernels run as in `sample`.
        return engine.denoise(x, np.full(len(x), sigma, np.float32), condition, labels)

    solver = sampler.solver(settings, lambda i: noise[i].copy(), case.around)
    error, bound = relative_error(found, sampler.run(solver, denoise)), SAME[engine.spec.precision]
    name = f"sample is the loop, churn {churn:g}"
    return {"check": name, "error": error, "bound": bound, "ok": error <= bound}


def _company_plays_no_part(case: Case, engine: TorchDenoiser) -> Check:
    x, sigma, condition, labels = case.arrays(4)
    together = engine.denoise(x, sigma, condition, labels)
    order = [3, 1, 0, 2]
    shuffled = engine.denoise(
        x[order], sigma[order], condition[order], None if labels is None else labels[order]
    )
    same = shuffled.tobytes() == together[order].tobytes()
    three = engine.denoise(x[:3], sigma[:3], condition[:3], None if labels is None else labels[:3])
    filled = three.tobytes() == together[:3].tobytes()
    return {"check": "a tile's bytes know no company", "ok": same and filled}


def _repeats(case: Case, engine: TorchDenoiser) -> Check:
    x, sigma, condition, labels = case.arrays(4)
    first, again = (engine.denoise(x, sigma, condition, labels) for _ in range(2))
    return {"check": "the same call gives the same bytes", "ok": first.tobytes() == again.tobytes()}


def _memory_lacks(case: Case, device: torch.device) -> Check:
    """Let the card have too little for many tiles, and see that fewer still work."""
    settings = TorchSettings("fp16", str(device), (1, TOO_MANY))
    engine = TorchDenoiser(case.make(), case.shape, case.around, settings)
    x, sigma, condition, labels = case.arrays(TOO_MANY)
    before, told, held = torch.cuda.memory_allocated(device), "", 0
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(LEFT, device)
    try:
        engine.denoise(x, sigma, condition, labels)
    except OutOfMemory as error:
        told, held = str(error), torch.cuda.memory_allocated(device) - before
        engine.denoise(x[:1], sigma[:1], condition[:1], None if labels is None else labels[:1])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    fits = bool(told) and held <= SLACK_BYTES
    return {"check": "a lack of memory is told", "told": told[:160], "held": held, "ok": fits}
