"""HoliSafe-Open: an open five-combination image-text set, rendered from openly licensed art; in holisafe-assets."""

from holisafe.datasets.open._load import load_open, open_images
from holisafe.datasets.open._tuning_data import preference_pairs, several_images

__all__ = ["load_open", "open_images", "preference_pairs", "several_images"]
