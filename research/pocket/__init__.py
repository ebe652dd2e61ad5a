"""How Pocket's own weights come about: five stages and a last step, run in this order.

    python -m research.pocket.align     --art DIR --out DIR   tower with language
    python -m research.pocket.pictures  --art DIR --out DIR   pictures and their visual tokens
    python -m research.pocket.answers   --out DIR             the language model's own answers
    python -m research.pocket.project   --out DIR             projector, by naming
    python -m research.pocket.instruct  --out DIR             projector and LoRA, by conversations
    python -m research.pocket.ship      --out DIR             into the package, with the recipe

Align, answers and instruct resume; pictures and project start anew (minutes each). None of them shows
the model a refusal. Sources and settings are in docs/pocket.md.

Then Safe Pocket (docs/pocket-safe.md), from what is drawn for training alone:

    python -m research.holisafe_open open-more --art DIR --out MORE                        safety data
    python -m research.pocket.general   --art DIR --answers FILE --out GENERAL
    python -m research.pocket.cutouts   --art DIR --out CUTOUTS  drawings of things and of harm
    python -m research.pocket.harm      --data MORE --general GENERAL --cutouts CUTOUTS --out HARM
    python -m research.pocket.names     --harm HARM --data MORE --general GENERAL --cutouts CUTOUTS
                                                        --out NAMES           tower, then projector
    python -m research.pocket.facts     --names NAMES --data MORE --out FACTS  what is right for what
    holisafe tune FACTS/model --data MORE --general GENERAL --recipe pocket-safe --attention eager --out RUN
    python -m research.pocket.facts     --names NAMES --data MORE --again FACTS RUN --out SAFE
                                                                              (with --steps 50 --rate 4e-4)
    python -m research.pocket.verdicts  --run SAFE --data MORE --general GENERAL --cutouts CUTOUTS
    holisafe calibrate SAFE                                                   its guard, which learned on before
    python -m research.pocket.ship_safe --names NAMES --facts SAFE --tuned SAFE

To go on from the weights that ship instead: harm with `--start pocket-safe` for another tower, or NAMES as it was for
the same one; facts with `--start ADAPTER --steps 0`, ADAPTER being `adapter` of the shipped folder. The weights that
ship came about so, with the tower of the release before. Harm, facts and tune resume. On two cores,
tuning is quicker by two processes, each with half of a batch:
`accelerate launch --multi_gpu --num_processes 2 -m holisafe tune ... --device cpu --batch 8`.
With glibc, convolutions over large batches are quicker where freed memory is kept:
`MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592`.
"""
