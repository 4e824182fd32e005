"""--mode=report on runs of the program, and the report that training writes."""

import json

import forked
import pytest
from program import assert_refused
from tiny import tiny_config

from saltjax import report, train
from saltjax.reporting import run_report
from saltjax.system import signals


def data_of(run):
    """Returns the data that the page's script reads, and the state that the page tells."""
    page = (run / "report.html").read_text(encoding="utf-8")
    _, _, rest = page.partition('<script type="application/json" id="run-data">')
    _, _, state = page.partition('<span class="state ')
    return json.loads(rest.partition("</script>")[0]), state.partition('"')[0]


@pytest.mark.slow
def test_training_has_written_the_report_of_its_run(runs):
    folder, printed = runs
    data, state = data_of(folder / "plain")
    result = json.loads((folder / "plain/result.json").read_text())
    assert f"Report     {folder}/plain/report.html" in printed
    assert state == "finished"
    assert len(data["history"]) == result["epochs"] == 2
    assert len(data["tiles"]["ids"]) == result["data"]["test"] == 8
    assert data["tiles"]["columns"] > 0  # with images
    assert data["result"]["threshold"] == result["threshold"]["value"]


@pytest.mark.slow
def test_the_command_writes_what_training_has_written(run):
    before = data_of(run)
    (run / "report.html").unlink()
    done = forked.launch("--mode=report", f"--workdir={run}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Report     {run}/report.html\nNext       ")
    after = data_of(run)
    # The directory and the program are others.
    assert after[0].pop("commands") != before[0].pop("commands")
    assert after == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["--mode=report needs --workdir: a run, finished or not"]),
        (("--workdir=nowhere",), ["nowhere: no run in it"]),
        (
            ("--workdir=x", "--reference=y"),
            ["--reference=y is for the report of a dir"],
        ),
        (("--workdir=x", "--output=y"), ["--mode=report takes no --output"]),
    ],
)
def test_a_wrong_command_is_refused(args, words):
    assert_refused(forked.launch("--mode=report", *args), *words)


@pytest.mark.slow
def test_the_report_follows_every_epoch_and_an_interrupted_run_is_told(
    tmp_path, monkeypatch
):
    run, seen, refresh = tmp_path / "run", [], run_report.refresh

    def refresh_and_stop(workdir, tiles, running):
        refresh(workdir, tiles, running)
        data, state = data_of(workdir)
        seen.append((len(data["history"]), state, running))
        if len(seen) == 2:
            raise signals.Stopped(15)

    monkeypatch.setattr(run_report, "refresh", refresh_and_stop)
    with pytest.raises(signals.Stopped):
        train.train(tiny_config(), run, overwrite=False)
    report.report(run)
    assert data_of(run)[1] == "interrupted"
    train.train(tiny_config(), run, overwrite=False)
    assert seen == [
        (1, "running", True),
        (2, "running", True),
        (3, "running", True),
        (3, "finished", False),
    ]
