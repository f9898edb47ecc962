"""The benchmark of a GPU runs where nothing but PyTorch is installed, and at a desk."""

import json
import subprocess
import sys
from pathlib import Path

#: What the machines with a GPU do not have.
FOREIGN = (
    "cfgrib", "eccodes", "kafka", "matplotlib", "mir", "onnx", "onnxruntime", "onnxscript",
    "openvino", "prometheus_client", "pytest", "scipy", "xarray", "yaml", "streamer", "monitoring",
)  # fmt: skip


def test_it_needs_torch_numpy_and_safetensors_alone(repository: Path) -> None:
    # A name that stands for nothing cannot be imported, whatever is installed.
    code = f"import sys; sys.modules.update(dict.fromkeys({FOREIGN!r}));import tests.benchmarks.gpu"

    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True, timeout=100)


def test_it_runs_at_a_desk_and_writes_what_it_found(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "gpu.jsonl"
    options = ["wind", "--device", "cpu", "--quick", "--budget-s", "1", "--output", str(output)]

    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.gpu", *options],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in output.read_text().splitlines()]
    checks = [one for one in found if one["what"] == "check"]
    assert len(checks) == 12
    assert all(one["ok"] for one in checks)
    assert {one["what"] for one in found} >= {"machine", "ceilings", "work", "left out"}
