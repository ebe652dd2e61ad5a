"""The ablation study: `python -m research.ablations`."""
