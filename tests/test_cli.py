"""The command line as a user meets it: real processes, exit codes, one line an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nsbench.cli import cli
from nsbench.options import RUN_OPTIONS


def nsbench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nsbench", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train-and-eval", "mnist5"], 2, ["no preset", "mnist5k"]),
        (["train-and-eval", "-s", "train.stepz=3"], 2, ["unknown key 'train.stepz'", "did you mean 'steps'"]),
        (["train-and-eval", "-s", "train.steps"], 2, ["section.key=value"]),
        (["train-and-eval", "-s", "train.steps=many"], 2, ["train.steps", "int"]),
        (["train-and-eval", "--generations", "-1"], 2, ["generations is -1"]),
        (["train-and-eval", "--seed", "-1"], 2, ["seed is -1"]),
        (["train-and-eval", "--ablation", "hard-label"], 2, ["unknown ablation", "hard-labels"]),
        (["train-and-eval", "--evals", "imagenet-aa"], 2, ["unknown eval", "imagenet-a"]),
        (["train-and-eval", "missing.toml"], 2, ["missing.toml"]),
        (["train-and-evall"], 2, ["train-and-eval"]),
        (["train-and-eval", "--device", "cudaa"], 2, ["cudaa"]),
        (["report", "nowhere"], 3, ["nowhere is not a run folder"]),
        (["corrupt", "nowhere", "out", "--corruption", "fog"], 3, ["nowhere is not a folder"]),
        (["corrupt", "nowhere", "out"], 2, ["name a corruption"]),
        (["corrupt", "nowhere", "out", "--corruption", "fogg"], 2, ["unknown corruption 'fogg'", "'fog'"]),
        (["corrupt", "nowhere", "out", "--corruption", "fog", "--severity", "6"], 2, ["unknown severity 6"]),
        (["corrupt", "nowhere", "out", "--corruption", "fog", "--canonical", "--seed", "3"], 2, ["means seed 0"]),
        (["corrupt", "nowhere", "out", "--corruption", "fog", "--device", "cudaa"], 2, ["cudaa"]),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(
    arguments: list[str], code: int, words: list[str], tmp_path: Path
) -> None:
    done = nsbench(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()[-1:]) == 1
    for word in words:
        assert word in done.stderr


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    for extra in ([], ["--fresh"]):
        done = nsbench("train-and-eval", "-o", "thesis", *extra, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"
        assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_an_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = nsbench("train-and-eval", "-o", "file/run", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['nsbench', '--help']\n"
        "from nsbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'timm', 'numpy', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_ls_names_everything(tmp_path: Path) -> None:
    assert "mnist5k" in nsbench("ls", "presets", cwd=tmp_path).stdout.split()
    corruptions = nsbench("ls", "corruptions", cwd=tmp_path).stdout
    assert "gaussian_noise" in corruptions
    assert len(corruptions.strip().splitlines()) == 15 + 4 + 10 + 4
    assert len(nsbench("ls", "evals", cwd=tmp_path).stdout.strip().splitlines()) == 12


def test_underscores_are_taken_for_dashes(tmp_path: Path) -> None:
    done = nsbench("train-and-eval", "--batch_size=7", "--dry_run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "batch_size = 7" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_options_is_closed() -> None:
    """A new setting is a key of the config, set with `--set`; a new flag changes this test on purpose."""
    names = {name for command in cli.commands.values() for option in command.params for name in option.opts}
    assert names == {
        "config", "--generations", "--seed", "--ablation", "--evals", "-b", "--batch-size", "-j", "--workers",
        "--device", "-s", "--set", "-o", "--out", "--fresh", "--dry-run", "--progress", "runs", "what",
        "source", "target", "--corruption", "--severity", "--perturbation", "--canonical", "--quality", "--variant",
        "--limit", "--on-bad-image", "models", "--config", "--data-dir", "--subset", "--amp", "--baseline", "--golden",
        "--model", "--epochs", "model", "--unlabelled", "--top-k", "--shard-images", "labels", "--min-confidence",
        "--max-confidence", "--per-class", "--total", "--balance", "--rule", "--fraction", "--threads", "--memory",
        "--fail-on", "--min-effect", "--baseline-runs", "--summary", "--no-samples",
    }  # fmt: skip
    assert len(RUN_OPTIONS) == 20


def test_fresh_deletes_nothing_for_a_mistake_or_in_another_projects_folder(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "config.toml").write_text('title = "an app"')
    (project / "src" / "thesis.tex").write_text("precious")
    for extra in ([], ["--evals", "typo"]):
        assert nsbench("train-and-eval", "-o", "project", "--fresh", *extra, cwd=tmp_path).returncode == 2
        assert (project / "src" / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("value", ["eval.evals=['fgsm', 'fgsm']", "eval.epsilons_px=[0, 8, 8]", "preset='../x'"])
def test_values_that_would_fail_after_hours_are_refused_at_once(value: str, tmp_path: Path) -> None:
    done = nsbench("train-and-eval", "--dry-run", "-s", value, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_corrupt_writes_then_says_that_it_is_done(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "val" / "n01").mkdir(parents=True)
    for number in range(3):
        slope = Image.linear_gradient("L").resize((300 + number, 260)).convert("RGB")
        slope.save(tmp_path / "val" / "n01" / f"{number}.JPEG")
    command = ["corrupt", "val", "out", "--corruption", "pixelate,contrast", "--severity", "2", "--canonical"]
    done = nsbench(*command, "--batch_size", "2", "--progress", "none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *sums, last = done.stdout.splitlines()
    assert [line.split("  ")[1] for line in sums] == ["pixelate/2", "contrast/2"]
    assert all(len(line.split("  ")[0]) == 64 for line in sums)
    assert last == "wrote 6 files to out; 0 were there"
    assert len(list((tmp_path / "out").rglob("*.JPEG"))) == 6
    again = nsbench(*command, cwd=tmp_path)
    assert again.stdout.splitlines() == [*sums, "all 6 files are in out; nothing was written"]
    other = nsbench(*command[:-1], "--seed", "1", cwd=tmp_path)
    assert other.returncode == 2
    assert other.stderr == "nsbench: out was made with seed 0, not 1; choose another folder\n"
