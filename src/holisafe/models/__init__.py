"""What answers: loading any transformers vision-language model, and asking it many questions quickly.

`load` gives a model and its processor; `Answerer` asks them in batches and reuses what samples share. Neither torch
nor transformers is imported before one of them is used.
"""

from holisafe.models._load import LoadedModel, load
from holisafe.models._registry import model, registered_models

__all__ = ["LoadedModel", "load", "model", "registered_models"]
