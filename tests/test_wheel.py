"""What travels in the wheel: presets, templates, constants, committed ids."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_built_wheel_runs(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheels, site = tmp_path / "wheels", tmp_path / "site"
    build = [*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = wheels.glob("nsbench-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(site), str(wheel)], check=True, capture_output=True)
    code = (
        "import nsbench, sys; from importlib import resources\n"
        "root = resources.files('nsbench')\n"
        "assert str(root).startswith(sys.argv[1]), root\n"
        "names = ['report/templates/report.html.j2', 'report/templates/style.css', 'report/templates/report.js',\n"
        "         'presets/mnist5k.toml', 'ablations.toml', 'data/mnist5k_split.json', 'corruptions/constants.json']\n"
        "assert all((root / name).is_file() for name in names), names\n"
        "sys.argv = ['nsbench', 'ls', 'presets']\n"
        "from nsbench.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(site)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert {"mnist5k", "svhn", "cifar10", "imagenet-b0", "imagenet-b7", "imagenet-resnet50", "imagenet-l2"} <= set(
        names
    )
