"""How what ships came about: drawings, training, ablations. Never in the wheel; needs the repository."""
