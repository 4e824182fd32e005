"""SEG-Y files written and read byte by byte, without segyio."""

import struct

import numpy as np

# NumPy codes of the sample formats, except IBM floats.
DTYPES = {
    2: "i4",
    3: "i2",
    5: "f4",
    6: "f8",
    8: "i1",
    9: "i8",
    10: "u4",
    11: "u2",
    12: "u8",
    16: "u1",
}
FORMATS = (1, *DTYPES)


def to_ibm(values: np.ndarray) -> np.ndarray:
    """Returns uint32, IBM floats, values rounded towards 0: sign, base-16 exponent + 64, 24 bits."""
    bits = np.zeros(values.shape, np.uint32)
    for place, value in np.ndenumerate(np.float64(values)):
        if value:
            exponent = 0
            size = abs(value)
            while size >= 1:
                size, exponent = size / 16, exponent + 1
            while size < 1 / 16:
                size, exponent = size * 16, exponent - 1
            sign = 0x80000000 if value < 0 else 0
            bits[place] = sign | (exponent + 64) << 24 | int(size * 2**24)
    return bits


def from_ibm(bits: np.ndarray) -> np.ndarray:
    """Returns float64 of IBM floats uint32."""
    sign = np.where(bits >> 31, -1.0, 1.0)
    fraction = (bits & 0xFFFFFF) / 2.0**24
    return sign * fraction * 16.0 ** ((bits >> 24 & 0x7F).astype(float) - 64)


def write(
    path,
    traces,
    code=5,
    endian="big",
    inline=None,
    crossline=None,
    extended=0,
    fields=None,
    shorts=None,
):
    """Writes traces [n, samples]; all other bytes are random, so that a test sees them change.

    `inline` and `crossline` are the integers in bytes 189 and 193, zeros by default; `fields` those
    in other bytes, {byte: integers}, and `shorts` those of two bytes. Byte 37, the offset, is 0 unless it is among them.
    """
    zeros = [0] * len(traces)
    fields = {
        189: zeros if inline is None else inline,
        193: zeros if crossline is None else crossline,
        37: zeros,
        **(fields or {}),
    }
    mark = ">" if endian == "big" else "<"
    n, samples = traces.shape
    rng = np.random.default_rng(7)
    head = bytearray(rng.integers(0, 256, 3600 + 3200 * extended, np.uint8).tobytes())
    struct.pack_into(f"{mark}H", head, 3220, samples)
    struct.pack_into(f"{mark}h", head, 3224, code)
    head[3500:3502] = b"\1\0" if endian == "big" else b"\0\1"
    struct.pack_into(f"{mark}h", head, 3504, extended)
    head[3296:3300] = struct.pack(f"{mark}I", 16909060)
    with path.open("wb") as file:
        file.write(head)
        for i in range(n):
            header = bytearray(rng.integers(0, 256, 240, np.uint8).tobytes())
            struct.pack_into(f"{mark}H", header, 114, samples)
            for byte, integers in fields.items():
                struct.pack_into(f"{mark}i", header, byte - 1, int(integers[i]))
            for byte, integers in (shorts or {}).items():
                struct.pack_into(f"{mark}h", header, byte - 1, int(integers[i]))
            file.write(header)
            if code == 1:
                file.write(to_ibm(traces[i]).astype(f"{mark}u4").tobytes())
            else:
                file.write(traces[i].astype(f"{mark}{DTYPES[code]}").tobytes())
    return path


def read_parts(path, samples, code, endian="big", extended=0):
    """Returns the file's head, its trace headers uint8[n, 240] and its samples [n, samples]."""
    mark = ">" if endian == "big" else "<"
    dtype = np.dtype(mark + ("u4" if code == 1 else DTYPES[code]))
    content = path.read_bytes()
    first = 3600 + 3200 * extended
    traces = np.frombuffer(content[first:], np.uint8)
    traces = traces.reshape(-1, 240 + samples * dtype.itemsize)
    values = np.ascontiguousarray(traces[:, 240:]).view(dtype)
    return content[:first], traces[:, :240], from_ibm(values) if code == 1 else values
