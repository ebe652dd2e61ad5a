"""How a result is marked that says no more than a blind baseline's."""

MARK = "†"
"""Stands behind a model's figure that a blind baseline reaches."""

LEGEND = (
    f"{MARK} A blind baseline reaches this figure within its interval: on these data, nothing shows that the model "
    "reads image and question together."
)
