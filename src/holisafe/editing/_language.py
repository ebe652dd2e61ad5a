"""The language-model tensors of several checkpoints side by side, by what they are and not by how a file names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from holisafe.editing._checkpoint import Checkpoint
from holisafe.editing._layout import VISION_LANGUAGE, WITH_LANGUAGE, Layout, language_modules, layout_of
from holisafe.errors import EditingError

HEAD = "lm_head.weight"
EMBEDDINGS = "embed_tokens.weight"
MIN_COSINE = 0.5
"""Cosine similarity of weights below which two models do not go back to one: fine-tuned ones are near 1."""

_SAME = ("hidden_act", "num_attention_heads", "num_key_value_heads", "head_dim", "rope_theta")
"""What tensors' shapes do not tell of a configuration."""


@dataclass(frozen=True, slots=True)
class LanguageTensors:
    """The language model of a base, and the same tensors of other models.

    Attributes:
        base: The base checkpoint.
        names: Names, in the base's files, of its language-model tensors.
        cosines: Cosine similarity of each other model's weights to the base's, in order.
        kept_rows: Rows of embeddings and output layer that stay the base's: tokens that another model does not have.
    """

    base: Checkpoint
    names: frozenset[str]
    cosines: Sequence[float]
    kept_rows: int
    _others: Sequence[tuple[Checkpoint, Mapping[str, str]]]
    _rows: Tensor | None
    _row_names: frozenset[str]

    def combine(self, name: str, tensor: Tensor, combined: Callable[..., Tensor]) -> Tensor:
        """Combine one tensor of the base with those of the other models.

        Args:
            name: Its name in the base's files.
            tensor: The base's.
            combined: From the base's tensor and those of the others, in order, to the new one; float32 where the files
                have half precision.

        Returns:
            The new tensor, in the base's dtype.
        """
        others = [checkpoint.tensor(names[name]) for checkpoint, names in self._others]
        rows = self._rows if name in self._row_names else None
        if rows is None:
            return _in_working_dtype(combined, tensor, others)
        result = tensor.clone()  # (vocabulary, hidden)
        result[rows] = _in_working_dtype(combined, tensor[rows], [other[rows] for other in others])
        return result


def language_tensors(base: Checkpoint, *others: Checkpoint) -> LanguageTensors:
    """Match the language-model tensors of a vision-language model with those of other models, and check them.

    Args:
        base: A vision-language model.
        others: Models with the same language model: vision-language models, or language models alone.

    Raises:
        EditingError: Architectures, shapes, dtypes or vocabularies differ, or the models do not go back to one.
        ModelError: A checkpoint lacks tensors or holds values that are not finite.
    """
    layout = layout_of(base, VISION_LANGUAGE)
    own = _by_role(layout, base)
    matched, text = [], layout.model.config.get_text_config(decoder=True)
    for other in others:
        theirs = layout_of(other, WITH_LANGUAGE)
        _check_config(text, theirs.model.config.get_text_config(decoder=True), base, other)
        matched.append((other, _matched(own, _by_role(theirs, other), base, other)))
    row_names = frozenset(name for role, name in own.items() if role in (EMBEDDINGS, HEAD))
    rows, kept = _shared_rows(base, matched, row_names)
    found = LanguageTensors(base, frozenset(own.values()), (), kept, matched, rows, row_names)
    return LanguageTensors(base, found.names, _cosines(found), kept, matched, rows, row_names)


def _by_role(layout: Layout, checkpoint: Checkpoint) -> dict[str, str]:
    """From a tensor's name below the decoder, or `lm_head.weight`, to its name in the files."""
    decoder, head = language_modules(layout, checkpoint.name)
    inside = sorted(layout.tensors_in(decoder))
    if not inside:
        raise EditingError(f"{checkpoint.name}: no tensor of its files belongs to the language model")
    prefix = _common_prefix(inside)
    roles = {name.removeprefix(prefix): name for name in inside}
    if head is not None:
        roles |= {f"lm_head.{name.rpartition('.')[2]}": name for name in layout.tensors_in(head)}
    return roles


def _common_prefix(names: Sequence[str]) -> str:
    """The modules, each with its dot, that all names begin with."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return "".join(f"{column[0]}." for column in takewhile(lambda column: len({*column}) == 1, columns))


def _matched(own: Mapping[str, str], theirs: Mapping[str, str], base: Checkpoint, other: Checkpoint) -> dict[str, str]:
    """From the name of a tensor of the base to that of the other model's.

    An output layer that the other model shares with its embeddings is read from there; one that only the other model
    has must be equal to its embeddings, since the base shares them.
    """
    theirs = dict(theirs)
    if HEAD in own and HEAD not in theirs and EMBEDDINGS in theirs:
        theirs[HEAD] = theirs[EMBEDDINGS]
    if HEAD in theirs and HEAD not in own:
        if not torch.equal(other.tensor(theirs[HEAD]), other.tensor(theirs[EMBEDDINGS])):
            raise EditingError(
                f"{other.name} has an output layer of its own, and {base.name} shares it with its embeddings; they "
                "cannot be merged"
            )
        del theirs[HEAD]
    if different := sorted(own.keys() ^ theirs.keys()):
        lacking = other.name if different[0] in own else base.name
        raise EditingError(
            f"{other.name} is no language model of {base.name}'s kind: {lacking} lacks {different[0]}, and "
            f"{len(different) - 1} more"
        )
    for role, name in own.items():
        _check_like(role, base, name, other, theirs[role])
    return {name: theirs[role] for role, name in own.items()}


def _check_like(role: str, base: Checkpoint, name: str, other: Checkpoint, its: str) -> None:
    one, two = base.tensors[name], other.tensors[its]
    is_by_token = role in (EMBEDDINGS, HEAD)
    is_smaller = is_by_token and one.shape[1:] == two.shape[1:] and two.shape[0] < one.shape[0]
    if one.shape != two.shape and not is_smaller:
        why = "another vocabulary" if is_by_token and one.shape[1:] == two.shape[1:] else "another size"
        raise EditingError(
            f"{other.name}: {its} has shape {list(two.shape)}, and {base.name}'s {list(one.shape)}: a model of {why}"
        )
    if one.dtype != two.dtype:
        raise EditingError(
            f"{other.name}: {its} is {two.dtype}, and {base.name}'s {one.dtype}; save one of them in the other's dtype"
        )


def _check_config(one: Any, two: Any, base: Checkpoint, other: Checkpoint) -> None:
    for field in _SAME:
        ours, theirs = _setting(one, field), _setting(two, field)
        if ours != theirs:
            raise EditingError(f"{other.name}: {field} is {theirs}, and {base.name}'s {ours}: another architecture")


def _setting(config: Any, field: str) -> Any:
    values = config.to_dict()
    found = values.get(field, (values.get("rope_parameters") or {}).get(field))
    if field == "head_dim" and found is None:
        return config.hidden_size // config.num_attention_heads
    return found


def _shared_rows(
    base: Checkpoint, others: Sequence[tuple[Checkpoint, Mapping[str, str]]], row_names: frozenset[str]
) -> tuple[Tensor | None, int]:
    """Token ids that every model knows, (shared,), and how many rows are not among them; None where it is all of them.

    A token of a tokenizer that has no row in its model is not looked at.

    Raises:
        EditingError: A token has another id in another model.
    """
    ours = _vocabulary(base)
    rows = max((base.tensors[name].shape[0] for name in row_names), default=0)
    unknown: set[int] = set()
    for other, names in others:
        its_rows = min((other.tensors[names[name]].shape[0] for name in row_names), default=0)
        theirs = {token: number for token, number in _vocabulary(other).items() if number < its_rows}
        for token, number in theirs.items():
            if ours.get(token) != number:
                its = f"not {ours[token]}" if token in ours else "and the other lacks it"
                raise EditingError(
                    f"{other.name} has another vocabulary than {base.name}: token {token!r:.40} has id {number}, {its}"
                )
        unknown |= {number for token, number in ours.items() if token not in theirs and number < rows}
        unknown |= set(range(its_rows, rows))
    if not unknown:
        return None, 0
    return torch.tensor([each for each in range(rows) if each not in unknown]), len(unknown)


def _vocabulary(checkpoint: Checkpoint) -> dict[str, int]:
    from transformers import AutoTokenizer

    try:
        vocabulary: dict[str, int] = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True).get_vocab()
    except Exception as error:  # transformers raises many kinds
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise EditingError(
            f"{checkpoint.name}: its tokenizer cannot be read ({first}), so its vocabulary cannot be compared; put the "
            "tokenizer's files into its folder"
        ) from error
    return vocabulary


def _cosines(found: LanguageTensors) -> list[float]:
    """Cosine similarity of each other model's matrices with the base's; also refuses values that are not finite."""
    products = torch.zeros(len(found._others), 3, dtype=torch.float64)  # per model: a · b, a · a, b · b
    for name in sorted(found.names):
        ours = found.base.finite(name)
        for at, (other, names) in enumerate(found._others):
            theirs = other.finite(names[name])
            rows = found._rows if name in found._row_names else None
            one = (ours if rows is None else ours[rows]).flatten().float()
            two = (theirs if rows is None else theirs[rows]).flatten().float()
            if ours.ndim > 1:
                products[at] += torch.stack([one @ two, one @ one, two @ two]).double()
    cosines = []
    for (other, _), (dot, one, two) in zip(found._others, products.tolist(), strict=True):
        cosine = dot / max((one * two) ** 0.5, 1e-300)
        if not cosine >= MIN_COSINE:  # not a number where the products are beyond float
            raise EditingError(
                f"{other.name} and {found.base.name} do not go back to one language model: the cosine similarity of "
                f"their weights is {cosine:.2f}, below {MIN_COSINE}"
            )
        cosines.append(cosine)
    return cosines


def _in_working_dtype(combined: Callable[..., Tensor], tensor: Tensor, others: Sequence[Tensor]) -> Tensor:
    working = torch.promote_types(tensor.dtype, torch.float32)
    return combined(tensor.to(working), *(other.to(working) for other in others)).to(tensor.dtype)
