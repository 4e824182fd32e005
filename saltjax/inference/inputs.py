"""What --input names: images, and files of sections and volumes."""

import dataclasses
import glob
import os
import pathlib
from collections.abc import Collection, Iterator

from saltjax.data import folder, image_file
from saltjax.seismic import array_files, segy
from saltjax.seismic.grid import ZARR_SUFFIXES, is_zarr
from saltjax.system.errors import InputError

TRACES = (*array_files.SUFFIXES, *segy.SUFFIXES)
KNOWN = (*TRACES, *image_file.FORMATS)
EXPECTED = (
    "expected an image (.png, .jpg, .tif), or a .npy, .sgy, .segy, .zgy, .zarr or .mdio; several, with "
    "commas between; a directory of them; or a pattern in quotes, as '*.sgy'"
)


@dataclasses.dataclass(frozen=True)
class Input:
    """What is segmented at once.

    Attributes:
      path: a file of traces; or an image, or a directory of images.
      images: the images, sorted by id; none for a file of traces.
      given: what it is named by on the command line, if not `path`: images one by one.
    """

    path: pathlib.Path
    images: tuple[pathlib.Path, ...] = ()
    given: tuple[pathlib.Path, ...] = ()

    @property
    def flag(self) -> str:
        """The --input that names it, with absolute paths."""
        return (
            f"--input={','.join(str(p.resolve()) for p in self.given or (self.path,))}"
        )

    @property
    def name(self) -> str:
        """The name of its page: that of the file without its suffix, or of the directory."""
        if self.path.is_file() or is_zarr(self.path):
            return self.path.stem
        return self.path.resolve().name or "images"


def find(
    source: str, results: Collection[pathlib.Path] = (), announce: bool = True
) -> list[Input]:
    """Returns the inputs that --input names, at least one.

    Args:
      source: --input.
      results: absolute paths that are no inputs, unless they are named themselves.
      announce: print which files of a directory are ignored.

    Raises:
      InputError: if there is no such file, it is of another kind, or two have the same name, by which
        their results are called.
    """
    found = [
        i
        for p in _paths(source, results, announce)
        for i in _inputs(p, results, announce)
    ]
    images = [i for i in found if i.images and i.path.is_file()]
    if len(images) > 1:
        # Images that were given one by one are one input, as those of a directory.
        together = tuple(sorted((i.path for i in images), key=lambda path: path.stem))
        _check_ids(together, source)
        found = [i for i in found if i not in images]
        found.append(Input(together[0].parent, together, together))
    if sum(bool(i.images) for i in found) > 1:
        raise InputError(
            f"--input={source}: several directories of images, whose results would be in the same "
            "files; segment one after the other"
        )
    names: dict[str, pathlib.Path] = {}
    for one in found:
        if names.get(one.name) == one.path:
            raise InputError(f"--input={source}: {one.path} is given twice")
        if one.name in names:
            raise InputError(
                f"--input={source}: {names[one.name]} and {one.path} have the same name, by which "
                "results are called; rename one, or segment one after the other"
            )
        names[one.name] = one.path
    return found


def _paths(
    source: str, results: Collection[pathlib.Path], announce: bool
) -> Iterator[pathlib.Path]:
    """Yields what commas separate, patterns replaced by the files that they match."""
    # Unlike `Path.exists`, it is False of a list that is too long for a name.
    parts = [source] if os.path.exists(source) else source.split(",")
    for part in parts:
        if not part:
            raise InputError(f"--input={source}: an empty name; {EXPECTED}")
        if glob.has_magic(part) and not os.path.exists(part):
            matches = map(pathlib.Path, sorted(glob.glob(part)))
            others = [path for path in matches if path.resolve() not in results]
            known = [p for p in others if p.is_dir() or p.suffix.lower() in KNOWN]
            if not known:
                raise InputError(
                    f"--input={part}: no file matches it"
                    if not others
                    else f"--input={part}: matches {others[0]}; {EXPECTED}"
                )
            if announce:
                stray = [path for path in others if path not in known]
                folder.say_ignored_files(stray, pathlib.Path(part).parent)
            yield from known
        else:
            yield pathlib.Path(part)


def _inputs(
    path: pathlib.Path, results: Collection[pathlib.Path], announce: bool
) -> list[Input]:
    """Returns the inputs of a path: one, or the files of traces in a directory."""
    suffix = path.suffix.lower()
    if not path.exists():
        raise InputError(f"--input={path}: no such file or directory; {EXPECTED}")
    if is_zarr(path):
        return [Input(path)]
    if path.is_dir():
        return _in_directory(path, results, announce)
    if not path.is_file():  # opening a pipe would block
        raise InputError(f"--input={path}: neither a file nor a directory; {EXPECTED}")
    if suffix in image_file.FORMATS:
        return [Input(path, (path,))]
    if suffix not in TRACES:
        raise InputError(f"--input={path}: {EXPECTED}")
    return [Input(path)]


def _in_directory(
    path: pathlib.Path, results: Collection[pathlib.Path], announce: bool
) -> list[Input]:
    """Returns the images in a directory or its directory `images`; else its files of traces."""
    directory = path / "images" if (path / "images").is_dir() else path
    try:
        images, others = image_file.find(directory)
    except OSError as error:
        raise InputError(
            f"--input={path}: cannot list {directory} ({error.strerror})"
        ) from None
    if images:
        if announce:
            folder.say_ignored(directory)
        # In the order of ids, as `evaluate` reads them: batches, and so the last bits, are the same.
        images.sort(key=lambda image: image.stem)
        _check_ids(tuple(images), str(path))
        return [Input(path, tuple(images))]
    others = [p for p in others if p.resolve() not in results]
    traces = [
        p
        for p in others
        if p.suffix.lower() in TRACES
        and p.is_dir() == (p.suffix.lower() in ZARR_SUFFIXES)
    ]
    if not traces:
        raise InputError(
            f"--input={path}: no images, .npy, .sgy, .segy, .zgy, .zarr or .mdio in {directory}; {EXPECTED}"
        )
    if announce:
        folder.say_ignored_files([p for p in others if p not in traces], directory)
    return [Input(p) for p in traces]


def _check_ids(images: tuple[pathlib.Path, ...], source: str) -> None:
    ids = [image.stem for image in images]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        both = " and ".join(str(path) for path in images if path.stem == twice)
        raise InputError(f"--input={source}: two images with the id {twice}: {both}")
