"""The package file: a table of contents that type checkers read as Python does."""

import ast
from pathlib import Path

import slamjax


def typed_names():
    """Names that the ``TYPE_CHECKING`` block imports, each with its module."""
    tree = ast.parse(Path(slamjax.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    return {alias.asname: node.module for node in imports for alias in node.names}


def test_type_checkers_see_the_names_that_are_imported_lazily():
    homes = {name: f"slamjax.{home}" for name, home in slamjax._HOMES.items()}
    assert typed_names() == homes | dict.fromkeys(slamjax._MODULES, "slamjax")
