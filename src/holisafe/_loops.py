"""Whether async work can be run here."""

from __future__ import annotations

import asyncio


def in_running_loop() -> bool:
    """Whether the caller is within a running event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
