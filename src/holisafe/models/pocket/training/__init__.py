"""How Pocket's own weights come about: five stages and a last step, run in this order.

    python -m holisafe.models.pocket.training.align     --art DIR --out DIR   tower with language
    python -m holisafe.models.pocket.training.pictures  --art DIR --out DIR   pictures and their visual tokens
    python -m holisafe.models.pocket.training.answers   --out DIR             the language model's own answers
    python -m holisafe.models.pocket.training.project   --out DIR             projector, by naming
    python -m holisafe.models.pocket.training.instruct  --out DIR             projector and LoRA, by conversations
    python -m holisafe.models.pocket.training.ship      --out DIR             into the package, with the recipe

Align, answers and instruct go on where they were; pictures and project start anew (minutes each). None of them shows
the model a refusal. Sources and settings are in docs/pocket.md.
"""
