"""`nsbench eval` and `nsbench.evaluate` as people use them: real photographs, real models, real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

import nsbench
from nsbench.errors import ConfigError, DataError
from nsbench.results import COLUMNS, read_results
from nsbench.runfolder import RunFolder
from tests.shared import SAMPLES, absent

NSBENCH = [sys.executable, "-m", "nsbench"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose `val` has the sample photographs, as links, under 1,000 wnids."""
    if not SAMPLES.is_dir():
        absent(f"the sample photographs are not at {SAMPLES} (set NSBENCH_SHARED_DATA)")
    root = tmp_path_factory.mktemp("data")
    (root / "val").symlink_to(SAMPLES, target_is_directory=True)
    return root


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two small networks of random weights with ImageNet's number of classes, as folders of timm's form."""
    names = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp("models") / f"tiny{seed}"
        torch.manual_seed(seed)
        save_for_hf(timm.create_model("test_resnet", num_classes=1000), folder, safe_serialization=True)
        names.append(f"local-dir:{folder}")
    return names


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def nsbench_eval(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    command = [*NSBENCH, "eval", *words, "--progress", "none"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False, cwd=Path.cwd()
    )


def files_of(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_two_models_one_report_and_a_second_run_that_writes_nothing(
    photographs: Path, tiny: list[str], tmp_path: Path
) -> None:
    command = [*tiny, "--data-dir", str(photographs), "--evals", "imagenet,fgsm", "--limit", "30", "-b", "8"]
    command += ["-o", str(tmp_path / "run"), "--set", "eval.epsilons_px=[0,4]"]
    done = nsbench_eval(*command)
    assert done.returncode == 0, done.stderr
    assert "report: " in done.stdout
    frame = read_results(tmp_path / "run" / "results.csv")
    assert tuple(frame.columns) == COLUMNS
    assert set(frame.model) == set(tiny)
    assert set(frame.versus) == {"", "first"}
    assert (frame.generation == "").all()
    assert (frame.n[frame.metric == "top1"] == 30).all()
    assert frame.protocol[frame.metric == "top1"].str.contains("partial: at most 30 images").all()
    assert frame.protocol[frame.metric == "top1"].str.contains("not held out").all()
    assert (tmp_path / "run" / "report.html").is_file()
    before = files_of(tmp_path / "run")
    again = nsbench_eval(*command)
    assert again.returncode == 0
    assert "nothing was measured" in again.stderr
    assert files_of(tmp_path / "run") == before


def test_a_model_and_an_eval_more_are_cells_beside_the_others(
    photographs: Path, tiny: list[str], tmp_path: Path
) -> None:
    common = ["--data-dir", str(photographs), "--limit", "20", "-b", "8", "-o", str(tmp_path / "run")]
    assert nsbench_eval(tiny[0], "--evals", "imagenet", *common).returncode == 0
    (cell,) = (tmp_path / "run" / "models").rglob("val.npz")
    made = cell.stat().st_mtime_ns
    done = nsbench_eval(*tiny, "--evals", "imagenet,fgsm", *common)
    assert done.returncode == 0, done.stderr
    assert cell.stat().st_mtime_ns == made
    assert len(list((tmp_path / "run" / "models").rglob("*.npz"))) == 4
    refused = nsbench_eval(*tiny, "--evals", "imagenet", *common, "-b", "4")
    assert refused.returncode == 2
    assert "eval.batch_size" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_other_weights_under_the_same_name_are_measured_anew(
    photographs: Path, tiny: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny[0].removeprefix("local-dir:"), folder)
    command = [f"local-dir:{folder}", "--data-dir", str(photographs), "--evals", "imagenet", "--limit", "20"]
    command += ["-o", str(tmp_path / "run")]
    assert nsbench_eval(*command).returncode == 0
    first = read_results(tmp_path / "run" / "results.csv")
    shutil.copy(Path(tiny[1].removeprefix("local-dir:")) / "model.safetensors", folder / "model.safetensors")
    assert nsbench_eval(*command).returncode == 0
    second = read_results(tmp_path / "run" / "results.csv")
    assert first.value[first.metric == "NLL"].item() != second.value[second.metric == "NLL"].item()


def test_killed_and_continued_it_ends_with_the_same_table(photographs: Path, tiny: list[str], tmp_path: Path) -> None:
    common = [tiny[0], "--data-dir", str(photographs), "--evals", "imagenet,imagenet-c", "--limit", "8", "-b", "8"]
    assert nsbench_eval(*common, "-o", str(tmp_path / "whole")).returncode == 0
    command = [*NSBENCH, "eval", *common, "-o", str(tmp_path / "killed"), "--progress", "none"]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list((tmp_path / "killed").rglob("*.npz"))) < 12:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = nsbench_eval(*common, "-o", str(tmp_path / "killed"))
    assert done.returncode == 0, done.stderr
    tables = [read_results(tmp_path / name / "results.csv").drop(columns="run") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_broken_image_fails_its_cells_alone_or_is_left_out_and_counted(
    photographs: Path, tiny: list[str], tmp_path: Path
) -> None:
    val = tmp_path / "data" / "val"
    for folder in sorted((photographs / "val").iterdir())[:12]:
        shutil.copytree(folder, val / folder.name)
    broken = next((val / sorted(os.listdir(val))[5]).iterdir())
    broken.write_bytes(broken.read_bytes()[:2000])
    common = [tiny[0], "--data-dir", str(tmp_path / "data"), "--evals", "imagenet,fgsm", "-b", "8"]
    failed = nsbench_eval(*common, "-o", str(tmp_path / "error"))
    assert failed.returncode == 5, failed.stderr
    assert str(broken) in failed.stderr
    assert "Traceback" not in failed.stderr
    assert json.loads((tmp_path / "error" / "run.json").read_text())["status"] == "partial"
    skipped = nsbench_eval(*common, "-o", str(tmp_path / "skip"), "--on-bad-image", "skip")
    assert skipped.returncode == 0, skipped.stderr
    frame = read_results(tmp_path / "skip" / "results.csv")
    top1 = frame[(frame["eval"] == "imagenet") & (frame.metric == "top1")]
    assert top1.n.tolist() == [11]
    counted = frame[frame.metric == "unreadable_images"]
    assert sorted(counted["eval"]) == ["fgsm", "imagenet"]
    assert (counted.value == 1).all()
    assert counted.protocol.str.contains(broken.name).all()


def test_one_two_and_three_processes_give_one_table(photographs: Path, tiny: list[str], tmp_path: Path) -> None:
    tables = []
    for world in (1, 2, 3):
        out = tmp_path / f"world{world}"
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={world}", "--standalone"]
        command += ["-m", "nsbench", "eval", tiny[0], "--data-dir", str(photographs), "--progress", "none"]
        command += ["--evals", "imagenet,fgsm", "-b", "32", "-o", str(out), "-j", "1"]
        command += ["--set", "eval.epsilons_px=[0,4]"]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=500, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        tables.append((out / "results.csv").read_text().replace(f"world{world},", "world,"))
        assert read_results(out / "results.csv").n.max() == 1000
    assert tables[0] == tables[1] == tables[2]


class Brightest(nn.Module):
    """Answers with the class whose number is the mean brightness."""

    def forward(self, images: Tensor) -> Tensor:
        level = (images.mean(dim=(1, 2, 3)) * 999)[:, None]
        return -((torch.arange(1000, device=images.device)[None] - level) ** 2) / 1000


def test_from_python_any_callable(photographs: Path, tmp_path: Path) -> None:
    frame = nsbench.evaluate([Brightest(), Brightest().forward], photographs, ["imagenet", "fgsm"], limit=20)
    assert list(frame.columns) == list(COLUMNS)
    one, other = (frame[(frame.model == name) & (frame.versus == "")] for name in dict.fromkeys(frame.model))
    assert one.value[one.metric == "NLL"].item() == other.value[other.metric == "NLL"].item()
    sized = nsbench.evaluate(
        Brightest(), photographs, ["imagenet"], limit=10, out=tmp_path / "run", view={"size": 64, "crop_pct": 1.0}
    )
    assert sized.protocol.str.contains("shorter side resized to 64").all()
    assert (tmp_path / "run" / "report.html").is_file()
    pd.testing.assert_frame_equal(nsbench.load_results(tmp_path / "run"), sized)


def test_from_python_wrong_words_are_one_line_each(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown eval 'imagnet'; did you mean 'imagenet'"):
        nsbench.evaluate(Brightest(), photographs, ["imagnet"])
    with pytest.raises(ConfigError, match="batchsize"):
        nsbench.evaluate(Brightest(), photographs, batchsize=3)
    with pytest.raises(DataError, match="does not exist"):
        nsbench.evaluate(Brightest(), tmp_path / "nowhere")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        nsbench.nothing_like_it  # noqa: B018


def test_importing_nsbench_imports_nothing_heavy() -> None:
    code = "import sys, nsbench; sys.exit(bool({'torch', 'pandas', 'numpy', 'timm'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_to_measure_is_one_line(photographs: Path, tiny: list[str], tmp_path: Path) -> None:
    for words, code, said in (
        (["--data-dir", str(tmp_path)], 3, "holds none of val"),
        (["--data-dir", str(photographs), "--evals", "imagenet-sketch"], 3, "none of the evals asked for can run"),
        ([], 2, "--data-dir"),
        (["--data-dir", str(photographs), "--evals", "imagenetc"], 2, "did you mean 'imagenet"),
        (["--data-dir", str(photographs), "--set", "eval.batch=3"], 2, "unknown key 'eval.batch'"),
    ):
        done = nsbench_eval(tiny[0], *words, "-o", str(tmp_path / "run"))
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.strip().count("\n") <= 3
    assert not RunFolder(tmp_path / "run").results.exists()


def test_an_eval_asked_for_by_name_that_cannot_run_is_said_and_not_taken_for_done(
    photographs: Path, tiny: list[str], tmp_path: Path
) -> None:
    common = [tiny[0], "--data-dir", str(photographs), "--limit", "8", "-o", str(tmp_path / "run")]
    alone = nsbench_eval(*common, "--evals", "imagenet-a")
    assert alone.returncode == 3
    assert "none of the evals asked for can run (imagenet-a: no folder imagenet-a in" in alone.stderr
    beside = nsbench_eval(*common, "--evals", "imagenet,imagenet-a")
    assert beside.returncode == 5
    assert "skipped imagenet-a: no folder imagenet-a" in beside.stderr
    assert "top-1" in beside.stdout


def test_names_of_a_dict_and_evals_of_a_text(photographs: Path) -> None:
    frame = nsbench.evaluate({"one": Brightest(), "other": Brightest()}, photographs, "imagenet,fgsm", limit=8)
    assert list(dict.fromkeys(frame.model)) == ["one", "other"]
    assert set(frame["eval"]) == {"imagenet", "fgsm"}
    with pytest.raises(ConfigError, match="named twice"):
        nsbench.evaluate(["resnet18", "resnet18"], photographs)


def test_a_later_model_that_is_not_there_is_said_before_the_first_is_measured(
    photographs: Path, tiny: list[str], tmp_path: Path
) -> None:
    words = [tiny[0], f"local-dir:{tmp_path / 'nowhere'}", "--data-dir", str(photographs), "-o", str(tmp_path / "run")]
    done = nsbench_eval(*words, "--evals", "imagenet", "--limit", "8")
    assert done.returncode in (2, 3)
    assert "nowhere" in done.stderr
    assert not list((tmp_path / "run").rglob("*.npz"))
