"""A salt body as tables and pages show it."""

import dataclasses
from typing import Any

COLUMNS = (
    "id",
    "samples",
    "traces",
    "inline_min",
    "inline_max",
    "crossline_min",
    "crossline_max",
    "z_min",
    "z_max",
    "z_unit",
    "area",
    "area_unit",
    "volume",
    "volume_unit",
    "mean_probability",
)


@dataclasses.dataclass(frozen=True)
class SaltBody:
    """A salt body, and where it is looked at.

    Attributes:
      row: its values by COLUMNS, "" where they are unknown.
      section: the index of the 2-D line that it lies in; 0 in a volume.
      inline, crossline, sample: the middle of it where it is thickest.
    """

    row: dict[str, Any]
    section: int
    inline: int
    crossline: int
    sample: int
