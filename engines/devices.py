"""Looks which NVIDIA GPUs are there, without any runtime that would need one."""

import ctypes

_DRIVER = "libcuda.so.1"
_SUCCESS = 0


def gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that the driver lets this process use, () without any.

    Asks the driver itself: the TensorRT runtime can end the whole process where there is none.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return ()
    count = ctypes.c_int(0)
    if driver.cuInit(0) != _SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)) != _SUCCESS:
        return ()
    return tuple(_name(driver, index) for index in range(count.value))


def _name(driver: ctypes.CDLL, index: int) -> str:
    device, text = ctypes.c_int(0), ctypes.create_string_buffer(256)
    if (
        driver.cuDeviceGet(ctypes.byref(device), index) != _SUCCESS
        or driver.cuDeviceGetName(text, len(text), device) != _SUCCESS
    ):
        return f"GPU {index}"
    return text.value.decode("utf-8", "replace")
