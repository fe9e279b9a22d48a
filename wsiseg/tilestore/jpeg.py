"""Images as JPEG: a quarter of the room, at the price of a second generation of JPEG.

A zarr 3 codec from array to bytes under the name ``wsiseg.jpeg``; other zarr readers need one like it. Each
chunk is one plain JFIF stream, RGB at full colour resolution (4:4:4).
"""

from dataclasses import dataclass
from typing import Self, cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON
from zarr.registry import register_codec

JPEG_CODEC = "wsiseg.jpeg"


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """Compress RGB ``(h, w, 3)``; the same pixels give the same bytes."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, "RGB", "444"))


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """Chunks of one RGB image, ``(1, h, w, 3)``.

    Attributes:
        quality: 1 to 100.
    """

    is_fixed_size = False
    quality: int = 90

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """As zarr's metadata hold it."""
        return cls(**cast("dict[str, int]", data.get("configuration", {})))

    def to_dict(self) -> dict[str, JSON]:
        """For zarr's metadata."""
        return {"name": JPEG_CODEC, "configuration": {"quality": self.quality}}

    def compute_encoded_size(self, _input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Not known beforehand."""
        raise ValueError("the size of a JPEG depends on the image")

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pixels = simplejpeg.decode_jpeg(chunk_data.to_bytes(), "RGB")
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(pixels.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        image = np.asarray(chunk_data.as_ndarray_like(), dtype=np.uint8)
        return chunk_spec.prototype.buffer.from_bytes(encode_jpeg(image[0], self.quality))


register_codec(JPEG_CODEC, JpegCodec)
