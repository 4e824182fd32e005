"""A survey segmented in this process or by the workers of a cluster: what they are told, and what they do."""

import dataclasses
import functools
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from saltjax.inference import chosen_lines, predictor, survey, survey_files, volumes
from saltjax.inference.chosen_lines import Lines
from saltjax.inference.chunks import Layout, Task
from saltjax.inference.request import Request, Scaling
from saltjax.inference.scaling import Scale
from saltjax.inference.survey import Survey
from saltjax.inference.survey_files import Places
from saltjax.inference.volumes import Traces
from saltjax.inference.windows import SectionModel
from saltjax.runs import environment, trained
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import amplitudes
from saltjax.system import devices
from saltjax.system.errors import InputError
from saltjax.system.output_directory import OutputDirectory

# Of two threads of a worker, one computes: JAX uses all cores itself.
computing = threading.Lock()


@dataclasses.dataclass(frozen=True)
class NetworkJob:
    """A network that a worker reads.

    Attributes:
      path: the run directory, or the network file.
      sha256: a checksum of its weights.
      engine, precision: see `predictor.load`.
      tta, scale: see `SectionModel`.
    """

    path: str
    sha256: str
    engine: str
    precision: str
    tta: bool
    scale: Scale


@dataclasses.dataclass(frozen=True)
class Job:
    """All that a worker needs to do tasks of a survey.

    Attributes:
      version: of saltjax.
      shares: the workers that share the cores of a machine; 0 if this one has all.
      networks: whose probabilities are averaged.
      path: the input.
      header_bytes: of SEG-Y.
      lines: of the volume, the only ones that are segmented; None for all.
      direction: of these.
      directions, chosen, normalize, limits: see `Survey`.
      places: of the results.
      input: the checksum of the input, so that a worker does not take another one, of the same path, for it.
    """

    version: str
    shares: int
    networks: tuple[NetworkJob, ...]
    path: str
    header_bytes: tuple[int, ...]
    lines: Lines | None
    direction: str
    directions: tuple[str, ...]
    chosen: Postprocessing
    normalize: str
    limits: amplitudes.Range
    places: Places
    input: str


def segment(
    path: pathlib.Path,
    source: Traces,
    scaled: Scaling | None,
    claimed: OutputDirectory,
    wanted: Request,
    places: Places,
) -> tuple[dict[int, str], float]:
    """Segments a volume into groups of Zarr, of which only what is missing is computed.

    Args:
      path: the input.
      source: its traces, or those of the lines that are wanted.
      scaled: how amplitudes are scaled; None for an image, which is refused.
      claimed: the directory of results.
      wanted: what is wanted.
      places: of the groups.

    Returns:
      The messages on damaged traces, see `volumes.segment`, and the share of salt.

    Raises:
      InputError: if it is no volume, a group holds results of something else, or reading or writing fails.
    """
    along = survey_files.directions(source, wanted.first.direction)
    assert scaled is not None  # of an image, which is no volume
    networks = tuple(_network_job(*both) for both in zip(wanted.runs, wanted.models))
    settings = {
        "version": environment.version(),
        "networks": [network.sha256 for network in networks],
        "computation": [
            run.computation(model.tta, model.scale)
            for run, model in zip(wanted.runs, wanted.models)
        ],
        "normalize": wanted.first.normalize,
        "directions": along,
    }
    chosen = msgspec.to_builtins(wanted.chosen)
    identity = survey_files.note(source, scaled.sample, settings)
    arrays = survey_files.create(claimed, source, along, places, identity, chosen)
    normalize, limits = scaled.normalize, scaled.limits
    found = Survey(
        source, wanted.models, normalize, limits, along, wanted.chosen, *arrays
    )
    if wanted.cluster is None:
        survey.run(found, functools.partial(_here, found))
    else:
        job = Job(
            environment.version(),
            wanted.cluster.shares,
            networks,
            str(path.absolute()),
            wanted.header_bytes_of_segy(),
            wanted.lines,
            wanted.first.direction,
            tuple(along),
            wanted.chosen,
            normalize,
            limits,
            places.absolute(),
            identity["input"],
        )
        survey.run(found, functools.partial(wanted.cluster.map, run_task, job=job))
    claimed.discard([places.first])
    return found.damaged(), found.share()


def _network_job(run: predictor.Predictor, model: SectionModel) -> NetworkJob:
    path = str(run.workdir.absolute())
    return NetworkJob(
        path, run.sha256, run.engine_name, run.precision, model.tta, model.scale
    )


def _here(found: Survey, tasks: Sequence[Task], stage: str) -> Iterator[Task]:
    """Does the tasks of a stage in this process; yields those that are done."""
    for task in tasks:
        getattr(found, stage)(task)
        yield task


def run_task(task: Task, job: Job, stage: str) -> None:
    """Does a task on a worker.

    Raises:
      InputError: if the worker has another version of saltjax or of a network, or cannot read or write what
        the job names.
    """
    with computing:
        try:
            getattr(_open(job), stage)(task)
        except InputError as error:
            raise InputError(f"worker {_worker().address}: {error}") from None


@functools.lru_cache(1)
def _open(job: Job) -> Survey:
    """Returns the survey of a job, as this worker reads it."""
    if environment.version() != job.version:
        raise InputError(
            f"has saltjax {environment.version()}; expected {job.version}, as where the prediction was started"
        )
    models = [_load(network, job.shares) for network in job.networks]
    whole = volumes.open_traces(pathlib.Path(job.path), job.header_bytes)
    source = (
        chosen_lines.select(whole, job.direction, job.lines) if job.lines else whole
    )
    arrays = survey_files.arrays(source, job.directions, job.places, Layout.open)
    return Survey(
        source,
        models,
        job.normalize,
        job.limits,
        job.directions,
        job.chosen,
        *arrays,
    )


@functools.lru_cache(8)
def _load(network: NetworkJob, shares: int) -> SectionModel:
    """Returns a network that this worker reads once."""
    location = trained.locate(network.path)
    _take_share(shares)
    train = location.config.train
    devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
    found = predictor.restore(location, network.engine, network.precision)
    if found.sha256 != network.sha256:
        raise InputError(
            f"{network.path}: the weights differ from those where the prediction was started; copy that "
            "network to the worker's machine"
        )
    return found.section_model(network.tta, network.scale)


@functools.cache
def _take_share(shares: int) -> None:
    """Leaves this thread, and those that it starts, a share of the cores, where the system can; once.

    XLA starts as many threads as there are cores for the thread that uses it first.
    """
    if shares and hasattr(os, "sched_setaffinity"):
        cores, i = sorted(os.sched_getaffinity(0)), int(_worker().name)
        if len(cores) >= shares:
            os.sched_setaffinity(0, cores[i::shares])
        else:
            os.sched_setaffinity(0, [cores[i % len(cores)]])


def _worker() -> Any:
    import distributed

    return distributed.get_worker()
