"""A contract for import-linter: a room's private modules (`_name`) are imported from that room alone."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class PrivateModules(Contract):
    """Rooms are the packages right below the root; the root's own private modules are for every room."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """List the imports that reach into another room."""
        root = self.session_options["root_packages"][0]
        broken = sorted(
            (importer, imported)
            for imported in graph.modules
            if imported.startswith(f"{root}.") and _is_private(imported)
            for importer in graph.find_modules_that_directly_import(imported)
            if _room(importer) != _room(imported)
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """One line per import."""
        for importer, imported in check.metadata["broken"]:
            output.print_error(f"{importer} imports {imported}: use what that room makes public", bold=False)


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def _is_private(module: str) -> bool:
    return any(part.startswith("_") for part in module.split(".")[2:])
