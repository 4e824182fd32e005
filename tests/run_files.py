"""JSON files of a run, read and changed."""

import json
import pathlib


def read(path):
    """Returns what a JSON file holds."""
    return json.loads(pathlib.Path(path).read_text())


def in_json(change):
    """Returns a function of a JSON file that changes the object in it."""

    def edit(path):
        tree = read(path)
        change(tree)
        path.write_text(json.dumps(tree))

    return edit
