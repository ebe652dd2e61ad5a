"""The method: score weights on safe and unsafe input, select the most unsafe ones, multiply them by α."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from holisafe.editing._method import Change, EditingConfig, EditingMethod

if TYPE_CHECKING:
    from torch import Tensor

    from holisafe.editing._checkpoint import Checkpoint
    from holisafe.editing._sources import Sources


class UwmConfig(EditingConfig):
    """Settings of `uwm`; the defaults are the published ones for CLIP."""

    pairs: str = Field(
        "open@2",
        min_length=1,
        description="Safe and unsafe inputs side by side: a JSON Lines file, or a data set with twins.",
    )
    encoders: Literal["vision", "text", "both"] = Field(
        "vision", description="Encoders to edit: vision, text or both; text is for CLIP-like models."
    )
    vision_layer: str = Field("fc2", min_length=1, description="Name of the linear layers in the vision encoder.")
    text_layer: str = Field("out_proj", min_length=1, description="Name of the linear layers in the text encoder.")
    sparsity: float = Field(0.98, ge=0, lt=1, description="Share of a layer's score that is left alone.")
    alpha: float = Field(-1.0, ge=-10, le=10, description="Factor of the selected weights.")
    limit: int | None = Field(None, ge=1, description="Maximum number of pairs; all if not given.")
    selection: str | None = Field(
        None, min_length=1, description="selection.safetensors of an earlier edit, instead of scoring again."
    )
    device: str = Field("cpu", min_length=1, description="Where the inputs are encoded, such as cuda.")


class Uwm(EditingMethod):
    """Weights that react more to unsafe than to safe input are multiplied by α."""

    name = "uwm"
    about = "Flips encoder weights that react to unsafe input."
    config = UwmConfig
    strength = "alpha"

    def change(self, base: Checkpoint, config: Any, sources: Sources) -> Change:
        """The selected weights of the named linear layers; α = 1 changes nothing."""
        from holisafe.editing.methods.uwm._layers import encoder_layers
        from holisafe.editing.methods.uwm._scores import score_layers
        from holisafe.editing.methods.uwm._select import read_selection, select

        layers = encoder_layers(base, config)
        if config.selection is not None:
            selected, shares = read_selection(config.selection, base, layers), {}
        else:
            scores = score_layers(base, layers, config)
            chosen = {layer.tensor: select(scores[layer.tensor], config.sparsity) for layer in layers}
            selected = {name: rows for name, (rows, _) in chosen.items()}
            shares = {name: share for name, (_, share) in chosen.items()}

        def flipped(name: str, tensor: Tensor) -> Tensor:
            if config.alpha == 1:
                return tensor
            flat = tensor.flatten().clone()
            flat[selected[name].long()] *= config.alpha
            return flat.view_as(tensor)

        count = sum(len(each) for each in selected.values())
        of = sum(base.tensors[name].shape[0] * base.tensors[name].shape[1] for name in selected)
        record: dict[str, Any] = {"layers": len(layers), "weights_selected": count, "weights_of_the_layers": of}
        if shares:
            record["largest_share_of_score"] = max(shares.values())
        return Change(frozenset(selected), flipped, record, selected)
