"""The door through which image bytes come in, and the places they come from.

`open_image` gives the pixels behind a reference, `read_bytes` its encoded bytes, `identify` its digest,
`open_identified` pixels and digest; `holisafe.images.sources` walks folders, archives and Parquet files, and
`holisafe.images.parquet` reads the rows of a Parquet file that anybody may have written.
"""

from holisafe.images._door import (
    LIMITS,
    ImageLimits,
    check_path,
    content_hash,
    identify,
    looks_like_image,
    open_identified,
    open_image,
    pixels_of,
    read_bytes,
    size_of,
)

__all__ = [
    "LIMITS",
    "ImageLimits",
    "check_path",
    "content_hash",
    "identify",
    "looks_like_image",
    "open_identified",
    "open_image",
    "pixels_of",
    "read_bytes",
    "size_of",
]
