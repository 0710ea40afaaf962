"""The gate: what conditions mean, how sure a regression must be, and how it is told; all through its records."""

from __future__ import annotations

import itertools
import math
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nsbench.cli import run as nsbench
from nsbench.configfile import load_config
from nsbench.errors import ConfigError
from nsbench.evaluationconfig import EvaluationConfig
from nsbench.files import file_fingerprint, read_npz, write_npz
from nsbench.metrics.intervals import mcnemar_p_value, paired_difference_interval
from nsbench.report.gate.conditions import evals_of, keys_of, parse_condition
from nsbench.report.gate.markdown import escaped
from nsbench.report.gate.significance import Effect, regressions, tail_probability
from nsbench.report.rows import Key
from nsbench.runfolder import RunFolder
from tests.report.answered import Answers, answers, write_answered, write_student

KEYS = (
    Key("imagenet", "top1"), Key("imagenet", "top5"), Key("imagenet-v2", "top1", "threshold-0.7"),
    Key("imagenet-c", "error", "all", "mean"), Key("imagenet-c", "error", "fog", "mean"),
    Key("imagenet-c", "error", "fog", "3"), Key("imagenet-c", "mCE, AlexNet table, device-jpeg85", "all", "mean"),
    Key("imagenet-c", "mCE without brightness and contrast", "all", "mean"), Key("fgsm", "top1", "all", "0.25"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "op", "threshold", "of_difference"),
    [
        ("imagenet-c.mCE>+0.5", "imagenet-c.mCE", ">", 0.5, True),
        ("imagenet.top1<-0.5", "imagenet.top1", "<", -0.5, True),
        ("imagenet.top1<−0.5", "imagenet.top1", "<", -0.5, True),
        (" imagenet.top1 < 75 ", "imagenet.top1", "<", 75, False),
        ("imagenet-v2.top1.threshold-0.7<60.25", "imagenet-v2.top1.threshold-0.7", "<", 60.25, False),
        ("imagenet.class_top1.class:a<b<-3", "imagenet.class_top1.class:a<b", "<", -3, True),
        ("imagenet-c.regression", "imagenet-c", "", 0, True),
        ("any.regression", "any", "", 0, True),
    ],
)
def test_conditions(text: str, name: str, op: str, threshold: float, of_difference: bool) -> None:
    found = parse_condition(text)
    assert (found.name, found.op, found.threshold, found.of_difference) == (name, op, threshold, of_difference)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "imagenet.top1",
        "imagenet.top1>",
        "a.top1>=3",
        "regression",
        ".regression",
        "a.top1<nan",
        "a.top1<1e3",
        "<75",
    ],
)
def test_what_is_no_condition_is_told_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is no condition; write EVAL\.METRIC"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("imagenet.top1", [KEYS[0]]),
        ("imagenet-v2.top1.threshold-0.7", [KEYS[2]]),
        ("imagenet-c.error", [KEYS[3]]),
        ("imagenet-c.error.all.mean", [KEYS[3]]),
        ("imagenet-c.error.fog", [KEYS[4]]),
        ("imagenet-c.error.fog.3", [KEYS[5]]),
        ("imagenet-c.mCE", [KEYS[6]]),
        ("imagenet-c.mCE, AlexNet table, device-jpeg85", [KEYS[6]]),
        ("fgsm.top1.all.0.25", [KEYS[8]]),
    ],
)
def test_names_of_measures(name: str, keys: list[Key]) -> None:
    assert keys_of(parse_condition(f"{name}<1"), KEYS) == keys


def test_a_wrong_name_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'imagenet-c\.error\.fog'\?"):
        keys_of(parse_condition("imagenet-c.error.fogg<1"), KEYS)
    with pytest.raises(ConfigError, match=r"did you mean 'imagenet-c\.mCE'\?"):
        keys_of(parse_condition("imagenet-c.mce<1"), KEYS)
    with pytest.raises(ConfigError, match=r"did you mean 'imagenet-v2\.regression'\?"):
        evals_of(parse_condition("imagenet-v3.regression"), KEYS)
    with pytest.raises(ConfigError, match="measured: imagenet, imagenet-v2, imagenet-c, fgsm"):
        evals_of(parse_condition("zzz.regression"), KEYS)


def normal(worse: float, error: float, **more: float) -> Effect:
    return Effect(worse=worse, low=worse - 1.959964 * error, high=worse + 1.959964 * error, **more)  # type: ignore[arg-type]


@given(st.floats(0.3, 9), st.floats(0.05, 2), st.integers(2, 9), st.floats(0.0, 1.0))
def test_the_tail_is_where_the_interval_reaches_the_limit(worse: float, error: float, num: int, spread: float) -> None:
    """By search over the levels, each with its own interval, in place of solving for the tail."""
    effect = normal(worse, error, seed_spread=spread, num_seeds=num if spread else 1)
    tails = np.geomspace(1e-9, 0.5, 2000)
    images = stats.norm.isf(tails) * error
    seeds = stats.t.isf(tails, max(num - 1, 1)) * spread if spread else 0 * tails
    beyond = worse - np.sqrt(images**2 + seeds**2) > 0.2
    slow = tails[beyond].min() if beyond.any() else math.inf
    found = tail_probability(effect, 0.2)
    assert found == pytest.approx(slow, rel=0.02) if found > 1.1e-9 else slow < 1.2e-9


@given(st.lists(st.tuples(st.floats(-1, 4), st.floats(0.1, 1)), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(cells: list[tuple[float, float]]) -> None:
    """A cell got worse if in every subset of cells that holds it some cell's Bonferroni interval lies beyond."""
    effects = [normal(worse, error) for worse, error in cells]
    places = range(len(cells))

    def rejected(subset: tuple[int, ...]) -> bool:
        z = stats.norm.isf(0.025 / len(subset))
        return any(cells[k][0] - z * cells[k][1] >= 0.2 for k in subset)

    subsets = [s for size in places for s in itertools.combinations(places, size + 1)]
    closed = [all(rejected(s) for s in subsets if k in s) for k in places]
    assert regressions(effects, 0.2) == closed


def test_one_cell_alone_fails_where_its_interval_leaves_the_least_effect() -> None:
    assert regressions([Effect(worse=1.0, low=0.201, high=1.4)], 0.2) == [True]
    assert regressions([Effect(worse=1.0, low=0.199, high=1.4)], 0.2) == [False]
    assert regressions([Effect(worse=1.0, low=math.nan, high=math.nan)], 0.2) == [False]


def test_an_exact_p_value_must_reject_as_well_unless_the_bootstrap_cannot_say_less() -> None:
    beyond = {"worse": 2.0, "low": 0.5, "high": 3.5, "resolution": 2 / 1001}
    assert regressions([Effect(**beyond, p_value=0.06)], 0.2) == [False]
    assert regressions([Effect(**beyond, p_value=2 / 1001)], 0.2) == [True]


def test_false_alarms_on_models_that_are_equally_good() -> None:
    """20 cells of 300 images, 300 times: at most 5 % of the families hold a regression where nothing changed."""
    rng = np.random.default_rng(11)
    alarms = 0
    for _ in range(300):
        shared = rng.random(300)
        effects = []
        for _ in range(20):
            first, second = ((shared + rng.normal(0, 0.15, 300)) < 0.8 for _ in range(2))
            low, high = (100 * end for end in paired_difference_interval(first, second))
            p = mcnemar_p_value(first, second)
            effects.append(Effect(worse=100 * (first.mean() - second.mean()), low=low, high=high, p_value=p))
        alarms += any(regressions(effects, 0.0))
    assert 0 < alarms + 1 <= 300 * 0.05


def test_false_alarms_where_seeds_differ() -> None:
    """A fourth seed of the same recipe is no regression, though image by image it often is."""
    rng = np.random.default_rng(12)
    seeds, alone = 0, 0
    for _ in range(2000):
        accuracy = rng.normal(80, 1.0, 4)
        worse = accuracy[:3].mean() - accuracy[3]
        spread = accuracy[:3].std(ddof=1) * math.sqrt(4 / 3)
        seeds += regressions([normal(worse, 0.2, seed_spread=spread, num_seeds=3)], 0.0)[0]
        alone += regressions([normal(worse, 0.2)], 0.0)[0]
    assert seeds <= 2000 * 0.025 * 1.3
    assert alone > 2000 * 0.25


RNG = np.random.default_rng(3)
GOOD = RNG.random(500) < 0.9
BAD = GOOD & (RNG.random(500) < 0.85)
NOISY = GOOD ^ (RNG.random(500) < 0.01)


def gate(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = nsbench(["report", *map(str, words)])
    return code, *capsys.readouterr()


def folder_of(root: Path, right: np.ndarray, name: str = "m", **more: object) -> Path:
    return write_answered(root, {name: answers(right)}, **more).root  # type: ignore[arg-type]


def test_a_regression_exits_4_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", BAD)
    out = tmp_path / "out"
    code, said, told = gate(capsys, a, b, "-o", out, "--fail-on", "any.regression", "--fail-on", "imagenet.top5<-50")
    assert code == 4
    (line,) = told.splitlines()
    delta = re.escape(f"{100 * (BAD.mean() - GOOD.mean()):.2f}".replace("-", "−"))
    assert re.fullmatch(
        rf"nsbench: gate failed: imagenet\.top1 of m of b changed by {delta} points \[−\d+\.\d\d, −\d+\.\d\d\] "
        r"against m of a \(n = 500\); limit any\.regression, wholly more than 0\.2 points worse, Holm over 1 cell",
        line,
    ), line
    assert said.startswith("### Gate failed: 1 of 2 checks\n")
    assert "<summary>1 check passed</summary>" in said
    assert (out / "report.html").is_file()
    assert (out / "results.csv").is_file()


def test_a_baseline_that_is_not_finished_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", GOOD)
    words = (a, b, "-o", tmp_path / "out", "--fail-on", "any.regression")
    assert "not finished" not in gate(capsys, *words)[1]
    record = RunFolder(a).read_run()
    RunFolder(a).write_run({**record, "status": "partial"})
    assert "not finished, and what it lacks is not gated:** <code>m of a</code>" in gate(capsys, *words)[1]


def test_what_changed_within_chance_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", NOISY)
    words = ("-o", tmp_path / "out", "--fail-on", "any.regression")
    assert gate(capsys, a, b, *words)[::2] == (0, "")
    assert gate(capsys, a, b, *words, "--fail-on", "imagenet.top1<-0.01")[0] == 4, "a threshold asks for no certainty"


def test_the_same_answers_pass_though_nothing_has_an_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (folder_of(tmp_path / name, GOOD) for name in "ab")
    conditions = ("--fail-on", "any.regression", "--fail-on", "imagenet.top1<-0.1")
    code, said, told = gate(capsys, a, b, "-o", tmp_path / "out", *conditions, "--min-effect", 0)
    assert (code, told) == (0, "")
    assert "+0.00" not in said
    assert "| 0.00 points |" in said


def test_a_least_effect_is_in_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", BAD)
    words = (a, b, "-o", tmp_path / "out", "--fail-on", "imagenet.regression", "--min-effect")
    change = 100 * (GOOD.mean() - BAD.mean())
    assert gate(capsys, *words, 1)[0] == 4
    assert gate(capsys, *words, change + 0.1)[0] == 0
    assert gate(capsys, *words, -1)[0] == 2


def test_a_value_needs_no_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder_of(tmp_path / "run", GOOD)
    percent = 100 * GOOD.mean()
    assert gate(capsys, run, "--fail-on", f"imagenet.top1<{percent - 0.1:.2f}")[0] == 0
    code, _, told = gate(capsys, run, "--fail-on", f"imagenet.top1<{percent + 0.1:.2f}")
    assert code == 4
    assert f"imagenet.top1 of m of run is {percent:.2f}% [" in told
    code, _, told = gate(capsys, run, "--fail-on", "any.regression")
    assert (code, "needs a baseline" in told) == (2, True)


def test_models_of_one_run_are_held_against_its_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = write_answered(tmp_path / "run", {"old": answers(GOOD), "new": answers(BAD)}).root
    code, _, told = gate(capsys, both, "--fail-on", "any.regression")
    assert code == 4
    assert "imagenet.top1 of new of run changed by" in told
    assert gate(capsys, both, "--fail-on", "imagenet.top1<20")[0] == 0


def test_a_cell_that_the_candidate_lacks_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD, evals=("imagenet", "imagenet-r")), folder_of(tmp_path / "b", GOOD)
    for condition in ("any.regression", "imagenet-r.top1<-1", "imagenet-r.top1<10"):
        code, said, told = gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", condition)
        assert code == 4, condition
        assert "imagenet-r.top1 of m of b cannot be judged (no number" in told
        assert "### Gate failed" in said
    assert gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", "imagenet.regression")[0] == 0


def test_other_protocols_and_other_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = folder_of(tmp_path / "a", GOOD)
    for place, other in enumerate(
        (answers(GOOD, protocol="toy val, {n} images, 64 px; fp32; batch 8"), answers(GOOD, shown="other pixels"))
    ):
        b = write_answered(tmp_path / f"b{place}", {"m": other}).root
        code, _, told = gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", "any.regression")
        assert code == 2
        assert re.search(r"imagenet of m of b\d is not comparable with m of a: measured (under|on) different", told)
        assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("imagenet.top6<-1", "did you mean 'imagenet.top5'?"),
        ("imagenet.top1>+1", "would fail on an improvement: of top1, higher is better; write <"),
        ("imagenet.NLL<0.1", "would fail on an improvement: of NLL, lower is better; write >"),
        ("imagenet top1", "is no condition"),
    ],
)
def test_a_condition_that_could_not_do_its_work_is_refused(
    condition: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", NOISY)
    code, _, told = gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", condition)
    assert (code, words in told) == (2, True), told


def test_models_of_several_are_compared_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write_answered(tmp_path / "a", {"x": answers(GOOD), "y": answers(BAD)}).root
    same, other = folder_of(tmp_path / "b", BAD, name="y"), folder_of(tmp_path / "c", BAD, name="z")
    words = ("-o", tmp_path / "out", "--fail-on", "any.regression")
    assert gate(capsys, a, same, *words)[0] == 0
    code, _, told = gate(capsys, a, other, *words)
    assert (code, "none is called 'z'" in told) == (2, True)


def test_self_training_runs_of_one_seed_are_compared_by_their_last_students(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_student(tmp_path / "a", {"0": answers(BAD), "1": answers(GOOD)}).root
    b = write_student(tmp_path / "b", {"0": answers(GOOD), "1": answers(BAD)}).root
    words = ("-o", tmp_path / "out", "--fail-on", "any.regression")
    code, _, told = gate(capsys, a, b, *words)
    assert code == 4
    assert "imagenet.top1 of gen 1 of b changed by −" in told
    page = (tmp_path / "out" / "report.html").read_text()
    assert "gen 1 (a)" in page
    assert gate(capsys, b, a, *words)[0] == 0
    assert gate(capsys, a, b, "-o", tmp_path / "out")[0] == 2, "without a gate one seed twice is no comparison"
    assert gate(capsys, a, "--fail-on", "imagenet.top1<95")[0] == 4


def seeds_of(root: Path, accuracies: tuple[float, ...]) -> list[Path]:
    """One run a seed; which images are wrong is drawn anew."""
    rng = np.random.default_rng(8)
    return [folder_of(root / f"seed{k}", rng.random(2000) < one) for k, one in enumerate(accuracies)]


def test_what_seeds_do_is_no_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = seeds_of(tmp_path, (0.80, 0.84, 0.88))
    b = folder_of(tmp_path / "b", np.random.default_rng(9).random(2000) < 0.80)
    words = ("-o", tmp_path / "out", "--fail-on", "any.regression")
    assert gate(capsys, a[1], b, *words)[0] == 4, "against one seed it is"
    code, said, _ = gate(capsys, b, *words, "--baseline-runs", *a)
    assert code == 0
    assert "The baseline is the mean of 3 runs" in said
    bad = folder_of(tmp_path / "bad", np.random.default_rng(9).random(2000) < 0.40)
    code, _, told = gate(capsys, a[0], bad, *words, "--baseline-runs", *a)
    assert code == 4
    assert "against the mean of 3 runs" in told


def test_the_interval_over_seeds_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = seeds_of(tmp_path, (0.80, 0.84, 0.88))
    right = np.random.default_rng(9).random(2000) < 0.70
    b = folder_of(tmp_path / "b", right)
    rng = np.random.default_rng(8)
    before = [rng.random(2000) < one for one in (0.80, 0.84, 0.88)]
    ends = np.mean([paired_difference_interval(right, one) for one in before], axis=0) * 100
    delta = 100 * (right.mean() - np.mean([one.mean() for one in before]))
    spread = 100 * np.std([one.mean() for one in before], ddof=1) * math.sqrt(1 + 1 / 3) * stats.t.isf(0.025, 2)
    low, high = delta - math.hypot(delta - ends[0], spread), delta + math.hypot(ends[1] - delta, spread)
    _, said, _ = gate(capsys, b, "-o", tmp_path / "out", "--fail-on", "imagenet.top1<-1", "--baseline-runs", *a)
    written = f"{delta:.2f} points [{low:.2f}, {high:+.2f}]".replace("-", "−")
    assert written in said


@pytest.mark.parametrize("runs", [("a",), ("a", "a"), ("a", "./a")])
def test_one_run_says_nothing_about_seeds(
    runs: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(Path("a"), GOOD)
    b = folder_of(Path("b"), GOOD)
    code, _, told = gate(capsys, b, "--fail-on", "any.regression", "--baseline-runs", *runs)
    assert (code, "two different runs" in told) == (2, True)


def test_options_of_the_gate_are_not_overlooked_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = folder_of(tmp_path / "run", GOOD)
    for words in (("--min-effect", 0), ("--summary", tmp_path / "s.md"), ("--baseline-runs", run, run)):
        code, _, told = gate(capsys, run, *words)
        assert (code, "is for --fail-on" in told) == (2, True)


HOSTILE = (
    "a|b`c` <img src=x onerror=alert(1)> [x](http://e.com) @someone #1 _y_ **z** https://e.com www.e.com </details>"
)


def test_the_summary_is_appended_and_holds_no_markup_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder_of(tmp_path / "a", GOOD, name=HOSTILE), folder_of(tmp_path / "b", BAD, name=HOSTILE)
    summary = tmp_path / "deep" / "summary.md"
    words = (a, b, "-o", tmp_path / "out", "--fail-on", "any.regression", "--summary", summary)
    code, said, _ = gate(capsys, *words)
    assert (code, said) == (4, f"{tmp_path / 'out' / 'report.html'}\n")
    once = summary.read_text()
    gate(capsys, *words)
    assert summary.read_text() == 2 * once
    for markup in ("<img", "](http", "@someone", "_y_", "**z**", "https://", "www.e", "`c`"):
        assert markup not in once, markup
    rows = [line for line in once.splitlines() if line.startswith("| <code>")]
    assert rows
    assert {line.count("|") for line in rows} == {7}
    assert once.count("</details>") == once.count("<details>")


@given(st.text())
def test_no_text_is_markup(text: str) -> None:
    assert not re.search(r"[<>`*\[\]|\\~$]|(?<!&)#|&(?!#\d+;)|@", escaped(text).replace("<!-- -->", ""))


def test_a_missing_folder_or_damaged_record_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", GOOD)
    RunFolder(b).cell("m", "imagenet", "val").write_bytes(b"no zip")
    words = ("-o", tmp_path / "out", "--fail-on", "any.regression")
    for other in (tmp_path / "nowhere", b):
        code, _, told = gate(capsys, a, other, *words)
        assert (code, len(told.splitlines())) == (3, 1)


def test_fewer_answers_are_judged_over_the_images_in_common(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = folder_of(tmp_path / "a", GOOD)
    fewer = Answers(right=BAD[50:], ids=answers(BAD).ids[50:], shown="fewer")
    b = write_answered(tmp_path / "b", {"m": fewer}).root
    code, _, told = gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", "any.regression")
    assert (code, "(n = 450)" in told) == (4, True)


def test_few_of_the_baselines_images_never_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = folder_of(tmp_path / "a", np.ones(40, dtype=bool))
    b = write_answered(tmp_path / "b", {"m": answers(np.zeros(2, dtype=bool), shown="fewer")}).root
    assert gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", "any.regression")[0] == 4
    code, _, told = gate(capsys, a, b, "-o", tmp_path / "out", "--fail-on", "imagenet.top1<-99.9")
    assert (code, "changed by −100.00 points" in told) == (4, True), "a loss beyond its limit is told with its figure"
    same = write_answered(tmp_path / "c", {"m": answers(np.ones(2, dtype=bool), shown="fewer")}).root
    code, _, told = gate(capsys, a, same, "-o", tmp_path / "out", "--fail-on", "any.regression")
    assert (code, "(answered 2 of the baseline's 40 images; measure both on the same)" in told) == (4, True)
    assert gate(capsys, same, a, "-o", tmp_path / "out", "--fail-on", "any.regression")[0] == 0, "more are no matter"


def test_a_run_is_not_held_against_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(Path("a"), GOOD)
    code, _, told = gate(capsys, "a", "./a", "-o", "out", "--fail-on", "any.regression", "--summary", "s.md")
    assert (code, "named twice" in told) == (2, True)
    assert Path("s.md").read_text().startswith("### Gate not judged\n\na run is named twice")


def test_answers_that_were_changed_after_the_run_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", BAD)
    cell = RunFolder(b).cell("m", "imagenet", "val")
    record = RunFolder(b).read_run()
    RunFolder(b).write_run({**record, "files": {str(cell.relative_to(b)): file_fingerprint(cell)}})
    words = (a, b, "-o", tmp_path / "out", "--fail-on", "any.regression")
    assert gate(capsys, *words)[0] == 4
    write_npz(cell, read_npz(cell) | {"top1": read_npz(cell)["labels"]})
    code, _, told = gate(capsys, *words)
    assert (code, "val.npz was changed after the run" in told) == (3, True)


@pytest.mark.parametrize("threshold", ["0.75", "0.5", "0"])
def test_a_fraction_or_a_forgotten_sign_is_no_threshold(
    threshold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder_of(tmp_path / "run", GOOD)
    code, _, told = gate(capsys, run, "--fail-on", f"imagenet.top1<{threshold}")
    assert (code, f"asks for {threshold} %" in told) == (2, True)
    assert gate(capsys, run, "--fail-on", "imagenet.ECE>0.5")[0] == 4, "of an error it is a limit"


@pytest.mark.parametrize("least", ["inf", "nan", "100"])
def test_a_least_effect_that_nothing_reaches_is_refused(
    least: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", BAD)
    words = (a, b, "-o", tmp_path / "out", "--fail-on", "any.regression", "--min-effect", least)
    code, _, told = gate(capsys, *words)
    assert (code, "--min-effect is" in told) == (2, True)


def test_copies_of_one_run_are_no_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = folder_of(tmp_path / "a", GOOD), folder_of(tmp_path / "b", BAD)
    shutil.copytree(a, tmp_path / "copy")
    words = (b, "-o", tmp_path / "out", "--fail-on", "any.regression", "--baseline-runs", a, tmp_path / "copy")
    code, _, told = gate(capsys, *words)
    assert (code, "hold the same weights and images" in told) == (2, True)


def test_seeds_that_differ_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_student(tmp_path / f"s{k}", {"0": answers(BAD), "1": answers(GOOD)}, seed=k).root for k in (0, 1)]
    words = ("-o", tmp_path / "out", "--fail-on", "any.regression")
    said = gate(capsys, *runs, *words)[1]
    assert "**Seed 0 against seed 1: the luck of training is in no interval here;**" in said
    same = write_student(tmp_path / "again", {"0": answers(BAD), "1": answers(GOOD)}, seed=0).root
    assert "luck of training" not in gate(capsys, runs[0], same, *words)[1]


def test_the_recipe_for_continuous_integration_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config is one of an evaluation, and its command runs."""
    text = (Path(__file__).parents[2] / "docs" / "ci.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    config = load_config(None, kind=EvaluationConfig, overrides={"models": ["m"], **flat(tomllib.loads(toml))})
    assert isinstance(config, EvaluationConfig)
    monkeypatch.chdir(tmp_path)
    evals = ("imagenet", "imagenet-r")
    for name in ("baseline", "candidate"):
        folder_of(Path("runs") / name, GOOD, evals=evals)
    (command,) = re.findall(r"run: >\n\s+nsbench (report .*?)\n\n", text, flags=re.DOTALL)
    words = shlex.split(command.replace("imagenet-c.error>+0.5", "imagenet-r.top1<-0.5").replace("$GITHUB", "GITHUB"))
    assert nsbench(words) == 0
    assert "### Gate passed" in Path("GITHUB_STEP_SUMMARY").read_text()


def flat(values: dict) -> dict:
    return {f"{section}.{key}": value for section, keys in values.items() for key, value in keys.items()}
