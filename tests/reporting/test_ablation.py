"""The additive table: each row of runs against the row above it."""

import logging

import numpy as np
import pytest
import tested_run

from saltjax import compare
from saltjax.reporting import ablation
from saltjax.runs.saved_outputs import SavedOutputs

# As of a file of groups that lists some of the tiles: four groups of five, and 20 tiles alone.
UNITS = np.concatenate([np.arange(20) // 5, np.arange(4, 24)])
# Name, noise, threshold with minimum component size, settings.
STEPS = (
    ("9-base", 0.9, (0.6, 3), {}),
    ("10-norm", 0.45, (0.45, 0), {"model.norm": "batch"}),
    # The last setting changes no weights.
    (
        "11-drop",
        0.45,
        (0.55, 2),
        {"model.norm": "batch", "predict.normalize": "minmax"},
    ),
)


def outputs(noise, seed):
    """Outputs of all probabilities for 40 tiles; the greater the noise, the more are wrong."""
    labels = tested_run.labels_of(40)
    random = np.random.default_rng(seed).uniform(-noise, noise, labels.shape)
    prob = np.clip(0.3 + 0.4 * labels + random, 0, 1)
    ids = [f"t{i:02d}" for i in range(40)]
    return SavedOutputs(ids, np.rint(prob * 65535).astype(np.uint16), labels, UNITS)


def scores_of(found, threshold, min_area):
    """Kaggle mAP and IoU of each tile, one at a time; float[40, 2]."""
    rows = []
    masks = tested_run.masks_of(found.prob, threshold, min_area)
    for mask, label in zip(masks, found.labels > 0):
        union = (mask | label).sum()
        iou = (mask & label).sum() / union if union else 1.0
        hits = sum(iou > 0.5 + 0.05 * i + 1e-9 for i in range(10))
        rows.append((hits / 10 if union else 1.0, iou))
    return np.array(rows)


def resampled(values):
    """Percentiles of the mean over tiles, where 24 of the 24 groups are drawn."""
    drawn = np.random.default_rng(5).integers(0, 24, (3000, 24))
    sums, sizes = np.bincount(UNITS, values), np.bincount(UNITS)
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return np.percentile(means, (2.5, 97.5))


def write_steps(folder):
    """Writes two seeds of each of STEPS; returns their outputs by name and seed."""
    found = {}
    for i, (name, noise, chosen, changes) in enumerate(STEPS):
        settings = changes | {"model.dropout": 0.1 * (i > 1)}
        for seed in (1, 2):
            found[name, seed] = outputs(noise, 10 * i + seed)
            path = folder / f"{name}-{seed}"
            tested_run.write(
                path, found[name, seed], settings | {"seed": seed}, chosen=chosen
            )
    return found


def test_each_row_gains_on_the_row_above_at_both_thresholds(tmp_path):
    found = write_steps(tmp_path)
    compare.compare(tmp_path, "previous", "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert [(row["run"], row["reference"], row["changes"]) for row in rows] == [
        ("10-norm-*", "9-base-*", "model.norm=batch"),
        ("11-drop-*", "10-norm-*", "model.dropout=0.1"),
    ]
    assert {(row["runs"], row["tiles"], row["units"]) for row in rows} == {
        ("2", "40", "24")
    }
    # float[run, tile, score] by step, at each run's own threshold and size and at 0.5.
    tiles = [
        {
            suffix: np.array([scores_of(found[name, seed], *at) for seed in (1, 2)])
            for suffix, at in (
                ("", chosen),
                (" at 0.5", (0.5, 0)),
            )
        }
        for name, _, chosen, _ in STEPS
    ]
    checked = 0
    for row, step, above in zip(rows, tiles[1:], tiles):
        for i, title in enumerate(("Kaggle mAP", "IoU")):
            for suffix in ("", " at 0.5"):
                a, b = step[suffix][:, :, i], above[suffix][:, :, i]
                gains = a.mean(axis=0) - b.mean(axis=0)
                low, high = resampled(gains)
                name = title + suffix
                ends = [float(row[f"{name} {end}"]) for end in ("low", "high")]
                assert float(row[name]) == pytest.approx(gains.mean(), abs=1e-12)
                assert ends == pytest.approx([low, high], abs=0.15 * (high - low))
                # The runs of three rows of two have three degrees of freedom, their sums of
                # squares are difference² / 2, and a gain has the variance of 1/2 + 1/2 runs.
                parts = [x[suffix][:, :, i].mean(axis=1) for x in tiles]
                squares = sum((x[0] - x[1]) ** 2 / 2 for x in parts)
                margin = 3.18244630528 * np.sqrt(squares / 3)
                assert float(row[f"{name} margin"]) == pytest.approx(margin, rel=1e-9)
                checked += float(row[name]) != float(row[title])
    assert checked > 0  # the thresholds do differ


def test_the_table_says_which_gains_can_be_told_from_zero(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    found = write_steps(tmp_path)
    compare.compare(tmp_path, "previous", "")
    assert "Runs by name" in caplog.text
    markdown = (tmp_path / "compare.md").read_text()
    assert (
        "gains over the row above, at 95 % (interval over 24 groups, 40 tiles)"
        in markdown
    )
    table = markdown[markdown.index("\nKaggle mAP at") :].split("\n\n")[1]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.strip().splitlines()
    ]
    titles, _, base, norm, drop = cells
    assert titles[-2:] == ["interval excludes 0", "exceeds margin"]
    assert base[:3] == ["9-base-*", "–", "2"]
    assert [base[i] for i in (4, 6, 7, 8)] == ["–"] * 4
    assert norm[-2:] == ["both", "both"]
    assert drop[-2:] == ["neither", "neither"]
    # Mean, lowest and highest of the two runs.
    runs = [scores_of(found["10-norm", s], 0.45, 0)[:, 0].mean() for s in (1, 2)]
    mean = sum(runs) / 2
    assert norm[3] == f"{mean:.4f} ({min(runs):.4f} to {max(runs):.4f})"
    assert (tmp_path / "compare.png").stat().st_size > 5000
    order = [row["run"] for row in tested_run.read_csv(tmp_path / "compare.csv")]
    assert order == [f"{name}-{seed}" for name, *_ in STEPS for seed in (1, 2)]


def test_a_difference_that_seeds_alone_make_is_within_the_margin(tmp_path):
    # The seeds of a row differ more than the rows do: noise of 0.9 and 0.45, and of 0.9 and 0.38.
    for name, patience, noises in (("a", 5, (0.9, 0.45)), ("b", 6, (0.9, 0.38))):
        for seed, noise in enumerate(noises):
            changes = {"plateau.patience": patience, "seed": seed}
            tested_run.write(tmp_path / f"{name}-{seed}", outputs(noise, seed), changes)
    compare.compare(tmp_path, "previous", "")
    line = (tmp_path / "compare.md").read_text().splitlines()[-1]
    assert line.split("|")[1].strip() == "b-*"
    assert [cell.strip() for cell in line.split("|")[-3:-1]] == ["both", "neither"]


def test_single_runs_are_rows_and_others_test_tiles_begin_anew(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name, rows, features in (
        ("a", range(40), (4,)),
        ("b", range(20), (4,)),
        ("c", range(40), (8,)),
        ("d", range(20), (8,)),
        ("e", None, (16,)),
    ):
        found = None if rows is None else tested_run.outputs(0.1, ord(name), rows)
        changes = {"model.features": features, "seed": ord(name)}
        changes["data.split_by"] = "random" if name in "ace" else "coverage"
        tested_run.write(tmp_path / name, found, changes)
    compare.compare(tmp_path, "previous", "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert [(row["run"], row["reference"], row["changes"]) for row in rows] == [
        ("c", "a", "model.features=8"),
        ("d", "b", "model.features=8"),
    ]
    # With one run nothing is known of the others that its settings could have led to.
    assert {row["IoU margin"] for row in rows} == {""}
    assert "b: no row above it has the same test tiles" in caplog.text
    assert "No differences of e: without test_outputs.npz" in caplog.text
    assert "e: no row of the table" in caplog.text


def test_rows_are_in_the_order_of_names_whatever_they_were_trained_on(tmp_path):
    for name, count in (("0-base", 8000), ("1-fewer", 400), ("2-more", 10000)):
        tested_run.write(
            tmp_path / name,
            outputs(0.5, 1),
            {"data.volume": "a.sgy", "data.labels": "b.sgy", "data.patches": count},
            counts=(count, 5, 5),
        )
    compare.compare(tmp_path, "previous", "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert [(row["run"], row["reference"]) for row in rows] == [
        ("1-fewer", "0-base"),
        ("2-more", "1-fewer"),
    ]
    assert [row["changes"] for row in rows] == [
        "data.patches=400",
        "data.patches=10000",
    ]


def test_a_row_over_folds_is_paired_by_fold(tmp_path):
    means = {}
    for name, error, skip in (("a", 0.1, True), ("b", 0.2, False)):
        for fold in range(2):
            rows = range(20 * fold, 20 * fold + 20)
            found = tested_run.outputs(error, fold + 7 * skip, rows)
            changes = {"data.folds": 2, "data.fold": fold, "model.skip": skip}
            tested_run.write(tmp_path / f"{name}{fold}", found, changes)
            means[name, fold] = scores_of(found, 0.5, 0)[:, 1].mean()
    compare.compare(tmp_path, "previous", "")
    (row,) = tested_run.read_csv(tmp_path / "differences.csv")
    assert (row["run"], row["reference"], row["tiles"]) == ("b*", "a*", "40")
    gains = [means["b", fold] - means["a", fold] for fold in range(2)]
    assert float(row["IoU"]) == pytest.approx(np.mean(gains), abs=1e-12)
    # 12.7 is Student's t of one degree of freedom.
    margin = 12.7062047362 * abs(gains[0] - gains[1]) / 2
    assert float(row["IoU margin"]) == pytest.approx(margin, rel=1e-9)


def test_margin_over_seeds_of_rows_with_other_numbers_of_runs():
    # Sums of squares 2 and 2, degrees of freedom 2 and 1: variance 4/3 of a run.
    rows = [1.0, 2.0, 3.0], [0.0, 2.0]
    found = ablation.margin_over_runs({(0, 0): rows[0]}, {(0, 0): rows[1]}, rows)
    expected = 3.18244630528 * np.sqrt(4 / 3 * (1 / 3 + 1 / 2))
    assert found == pytest.approx(expected, rel=1e-9)


def test_margin_over_folds_averages_the_seeds_of_each():
    # Gains of the folds 2 - 1 and 5 - 2: their standard error is 1.
    folds = {(0, 0): [1.0, 3.0], (1, 0): [5.0]}, {(0, 0): [1.0], (1, 0): [2.0]}
    found = ablation.margin_over_runs(*folds, [[1.0, 3.0, 5.0], [1.0, 2.0]])
    assert found == pytest.approx(12.7062047362, rel=1e-9)
    # Two folds and three are not paired, though all of them have the same tiles.
    three = {(fold, 0): [1.0] for fold in range(3)}
    assert ablation.margin_over_runs(three, folds[1], [[1.0] * 3, [1.0, 2.0]]) is None


def test_equal_rows_gain_nothing(tmp_path):
    for name, patience in (("a", 5), ("b", 6)):
        changes = {"plateau.patience": patience}
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, 1), changes)
    compare.compare(tmp_path, "previous", "")
    (row,) = tested_run.read_csv(tmp_path / "differences.csv")
    ends = ("IoU", "IoU low", "Kaggle mAP high", "F1 at 0.5 low", "accuracy at 0.5")
    assert {float(row[end]) for end in ends} == {0}
    line = (tmp_path / "compare.md").read_text().splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[-3:-1]] == ["neither", "–"]


def test_a_single_test_tile_tells_no_gain_from_zero(tmp_path):
    """Every resample is that tile, and the interval has no width."""
    for name, error in (("a", 0.3), ("b", 0.0)):
        found = tested_run.outputs(error, 1, range(3, 4))
        tested_run.write(tmp_path / name, found, {"plateau.patience": ord(name)})
    compare.compare(tmp_path, "previous", "")
    (row,) = tested_run.read_csv(tmp_path / "differences.csv")
    assert float(row["IoU"]) == float(row["IoU low"]) == float(row["IoU high"]) > 0
    text = (tmp_path / "compare.md").read_text()
    assert "(interval over 1 tile)" in text
    cells = text.splitlines()[-1].split("|")
    assert [cell.strip() for cell in cells[-3:-1]] == ["–", "–"]


def test_a_run_called_previous_is_a_reference_by_its_path(tmp_path):
    for name, seed in (("a", 1), ("b", 2), ("previous", 3)):
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, seed), {"seed": seed})
    compare.compare(tmp_path, str(tmp_path / "previous"), "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert [(row["run"], row["reference"]) for row in rows] == [
        ("a", "previous"),
        ("b", "previous"),
    ]
