"""Identity of images and clusters: by content, never by file name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from holisafe.errors import ImageError
from holisafe.images import identify
from holisafe.records import ImageRef, Sample


class Identifier:
    """Sets the digests of images, reading each file once; one for all samples of a load."""

    def __init__(self) -> None:
        self._known: dict[object, ImageRef] = {}

    def __call__(self, ref: ImageRef) -> ImageRef:
        """The reference with its digest; one without a digest where the image is on the network.

        References to the same place are one object, and share the image's bytes.

        Raises:
            ImageError: Its bytes cannot be read.
        """
        place = (ref.key, ref.path, ref.root, ref.url, ref.data, ref.digest)
        if place not in self._known:
            found = identify(ref)
            same = self._known.setdefault((ref.key, found.digest, found.path, found.url), found)
            self._known[place] = same
        return self._known[place]


def with_cluster(sample: Sample) -> Sample:
    """The sample with a cluster where the data name none: its first image's digest, or its own id without images."""
    if sample.cluster:
        return sample
    return replace(sample, cluster=sample.images[0].identity if sample.images else f"sample {sample.id}")


def identified(samples: Iterable[Sample]) -> tuple[list[Sample], list[tuple[int, Sample, ImageRef, ImageError]]]:
    """Samples with digests and clusters, and those left out: position, sample, image, and why it cannot be read."""
    identifier = Identifier()
    good: list[Sample] = []
    broken: list[tuple[int, Sample, ImageRef, ImageError]] = []
    for at, sample in enumerate(samples):
        refs: list[ImageRef] = []
        for ref in sample.images:
            try:
                refs.append(identifier(ref))
            except ImageError as error:
                broken.append((at, sample, ref, error))
                break
        else:
            good.append(with_cluster(sample.with_images(tuple(refs)) if refs else sample))
    return good, broken
