"""HoliSafe-Open: an open five-combination image-text set, rendered from openly licensed art and shipped here."""

from holisafe.datasets.open._kinds import Kind, load_kinds

__all__ = ["Kind", "load_kinds"]
