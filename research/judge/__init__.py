"""Training of the judge `learned`: `python -m research.judge`."""
