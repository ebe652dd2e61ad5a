"""How Pocket's own weights come about: three stages, run in this order, each resumable.

    python -m holisafe.models.pocket.training.align     --art DIR --out DIR   tower with language
    python -m holisafe.models.pocket.training.project   --out DIR            projector, by naming
    python -m holisafe.models.pocket.training.instruct  --art DIR --out DIR   projector and LoRA, by instructions

None of them shows the model a refusal. Sources and settings are in docs/pocket.md.
"""
