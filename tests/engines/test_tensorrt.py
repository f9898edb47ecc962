"""TensorRT's plans are built without a GPU; running one is for machines that have one."""

import ctypes
import importlib.util
import re
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engines.backends import cuda_driver, tensorrt_plan
from engines.backends.tensorrt import TensorRtDenoiser
from engines.bundle import NETWORK, open_manifest
from engines.choice import EngineChoice
from engines.devices import gpus
from engines.errors import EngineError
from engines.export import to_onnx
from engines.golden import check, read_golden
from engines.hardware import hardware
from engines.networks import build, published
from tests.conftest import skip_at_a_desk
from tests.engines import tiny

#: How every plan begins.
MAGIC = b"vtrt"
WIND = "gfs-wind-4to1"
#: What the header of the driver calls a type, and how it is handed over.
TYPES = {
    "size_t": ctypes.c_size_t,
    "unsigned int": ctypes.c_uint,
    "unsigned long long": ctypes.c_ulonglong,
    "CUdeviceptr": ctypes.c_ulonglong,
    "CUdevice": ctypes.c_int,
    "CUresult": ctypes.c_int,
    "CUstreamCaptureMode": ctypes.c_int,
    "int": ctypes.c_int,
}


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    try:
        return tensorrt_plan.library()
    except EngineError as error:
        skip_at_a_desk(str(error))
        raise


def plan(trt: ModuleType, onnx: bytes, sizes: tuple[int, ...] = (1,), *, exact: bool) -> bytes:
    request = tensorrt_plan.PlanRequest(onnx, "a network", sizes, exact=exact)
    return tensorrt_plan.build_plan(trt, tensorrt_plan.logger(trt), request)


def test_the_network_that_ships_is_planned_for_each_number_of_tiles(trt: ModuleType) -> None:
    onnx = (open_manifest(WIND).path / NETWORK).read_bytes()

    one, two = plan(trt, onnx, exact=True), plan(trt, onnx, (1, 2), exact=True)

    assert one.startswith(MAGIC)
    # The weights and then some; each profile brings kernels of its own.
    assert len(onnx) < len(one) < len(two)


@pytest.mark.slow
@pytest.mark.timeout(400)
# The kernels of ncsnpp's transposed convolutions know no bf16 in TensorRT for RTX 1.7.
@pytest.mark.parametrize(
    ("architecture", "precision"), [("ddpmpp", "bf16"), ("ncsnpp", "fp16"), ("adm", "fp16")]
)
def test_networks_of_every_architecture_are_planned_in_half_precision(
    trt: ModuleType, architecture: str, precision: str
) -> None:
    small = {"width": 32, "multipliers": (1, 2), "blocks": 1}
    settings = published(architecture, 6, 2, (16, 24), labels=4, **small)
    with warnings.catch_warnings():
        # What the exporter says about itself.
        warnings.simplefilter("ignore")
        onnx = to_onnx(build(settings), settings, precision)

    assert plan(trt, onnx, (1, 4), exact=False).startswith(MAGIC)


def test_what_is_no_network_is_refused_by_name(trt: ModuleType) -> None:
    with pytest.raises(EngineError, match=r"a network: TensorRT cannot read the network: .*parse"):
        plan(trt, b"no ONNX at all", exact=True)


def test_without_a_driver_it_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    if gpus():
        pytest.skip("this machine has a driver")
    bundle = open_manifest(tiny.write_bundle(tmp_path / "tiny"))

    with pytest.raises(EngineError, match="found no NVIDIA driver"):
        TensorRtDenoiser(bundle, EngineChoice("tensorrt"))
    with pytest.raises(EngineError, match="found no NVIDIA driver"):
        cuda_driver.Gpu(0)


def test_the_drivers_functions_take_what_its_header_says() -> None:
    header = _header()
    names = dict(
        re.findall(r"^ *#define +(cu\w+) +(?:__CUDA_API_PT[DS]+Z\()?(cu\w+)", header, re.MULTILINE)
    )
    known_as = {full: short for short, full in names.items()}
    # The first declaration of a name is the present one; those of old programs stand last.
    declared: dict[str, str] = {}
    for name, arguments in re.findall(r"CUresult CUDAAPI (cu\w+)\(([^)]*)\);", header):
        declared.setdefault(name, arguments)

    for name, found in cuda_driver._ARGUMENTS.items():
        wanted = [_ctype(text) for text in declared[known_as.get(name, name)].split(",")]
        assert list(found) == wanted, name


def test_the_drivers_numbers_are_what_its_header_says() -> None:
    header = _header()
    numbers = {
        name: int(value, 0)
        for name, value in re.findall(r"^ *(CU\w+) *= *(0x[0-9a-fA-F]+|\d+)", header, re.MULTILINE)
    }

    assert numbers["CUDA_ERROR_OUT_OF_MEMORY"] == cuda_driver._OUT_OF_MEMORY
    assert numbers["CU_STREAM_NON_BLOCKING"] == cuda_driver._NON_BLOCKING
    assert numbers["CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"] == cuda_driver._THREAD_LOCAL


@pytest.mark.gpu
def test_a_gpu_gives_back_what_it_was_given_when_a_recorded_copy_is_launched() -> None:
    if not gpus():
        pytest.skip("no NVIDIA GPU")
    gpu = cuda_driver.Gpu(0)
    with gpu.current():
        before = gpu.used_bytes()
        buffer = cuda_driver.Buffer(gpu, (3, 1 << 20))
        assert gpu.used_bytes() > before
        buffer.host[...] = 7.0
        buffer.upload()
        gpu.synchronize()
        graph = gpu.recorded(buffer.download)
        buffer.host[...] = 0.0

        graph.launch()
        gpu.synchronize()

    assert (buffer.host == 7.0).all()
    assert hardware("cuda:0").device == gpus()[0]
    assert hardware("cuda:0").units > 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "bf16", "f32"])
def test_a_bundle_on_a_gpu_reproduces_its_golden_vectors(precision: str, tmp_path: Path) -> None:
    if not gpus():
        pytest.skip("no NVIDIA GPU")
    bundle = open_manifest(WIND)
    choice = EngineChoice("tensorrt", precision, batch=2, cache=tmp_path)

    denoiser = TensorRtDenoiser(bundle, choice)

    golden = read_golden(bundle)
    assert check(denoiser, golden, WIND) > 0.0
    # Three tiles in calls of two: the last one is padded.
    found = denoiser.denoise(golden.x, golden.sigma, golden.condition)
    assert found.shape == golden.denoised.shape


def _header() -> str:
    found = importlib.util.find_spec("nvidia")
    folders = found.submodule_search_locations if found else None
    for folder in folders or ():
        for path in Path(folder).glob("cu*/include/cuda.h"):
            return path.read_text(encoding="utf-8", errors="replace")
    pytest.skip("cuda.h, which comes with torch for NVIDIA GPUs, is not here")


def _ctype(declaration: str) -> Any:
    """Return how an argument is handed over, from its declaration such as `size_t *free`."""
    matched = re.fullmatch(r"(?:const )?(.+?) *(\**)\w+", declaration.strip())
    assert matched is not None, declaration
    name, stars = matched[1], len(matched[2])
    if name == "void":
        # A pointer to anything is a handle; a pointer to that takes one.
        return ctypes.POINTER(ctypes.c_void_p) if stars == 2 else ctypes.c_void_p
    if name == "char":
        return ctypes.POINTER(ctypes.c_char_p) if stars == 2 else ctypes.c_char_p
    plain = TYPES.get(name, ctypes.c_void_p)
    return ctypes.POINTER(plain) if stars else plain
