"""Network files of a small network, and changes to them."""

import hashlib
import json
import pathlib
import struct

import written_run

from saltjax.runs import network_file, trained

# As it is written into env.json.
STARTS = [
    {
        "time": "2026-11-24T12:00:00Z",
        "command": ["launch.py", "--config.data.dir=/home/ann/tgs/train"],
        "versions": {"saltjax": "0.2.0"},
    }
]
TILES = {
    "height": 12,
    "width": 10,
    "content_sha256": "ab" * 32,
    "splits": {"train": ["a", "b"], "val": ["c"], "test": ["d"]},
}


def write_run(workdir: pathlib.Path, overrides=None) -> None:
    """Writes the run of `written_run` with the starts STARTS and the tiles TILES."""
    written_run.write(workdir, overrides)
    (workdir / "env.json").write_text(json.dumps(STARTS))
    (workdir / "data.json").write_text(json.dumps(TILES))


def encode(workdir: pathlib.Path) -> bytes:
    """Returns the content of the network file of a run."""
    location = trained.locate(workdir)
    return network_file.encode(trained.read(location), trained.read_starts(location))


def parts(content: bytes) -> tuple[dict, bytes]:
    """Returns the header and the tensors of a safetensors file, read by its specification."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def document(content: bytes) -> dict:
    """Returns the JSON object in the metadata of a network file."""
    return json.loads(parts(content)[0]["__metadata__"]["saltjax"])


def join(header: dict, data: bytes) -> bytes:
    """Returns a safetensors file; the opposite of `parts`."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def changed(content: bytes, change, change_header=lambda header: None) -> bytes:
    """Returns a network file with another JSON object or header, under a checksum that is right."""
    header, data = parts(content)
    tree = document(content)
    change(tree)
    tree["sha256"] = "0" * 64
    header["__metadata__"]["saltjax"] = json.dumps(tree)
    change_header(header)
    blank = join(header, data)
    checksum = hashlib.sha256(blank).hexdigest()
    return blank.replace(b"0" * 64, checksum.encode(), 1)
