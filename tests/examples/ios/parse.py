"""Parses the Swift of examples/phones, by tree-sitter's grammar. Prints what does not parse.

    python tests/examples/ios/parse.py [FILE...]

Only its syntax: no compiler of Swift, and no framework of Apple's, is at hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import tree_sitter
import tree_sitter_swift

APP = Path(__file__).parents[3] / "examples" / "phones" / "ios"


def wrong(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """What is not Swift within a node that has an error, or is missing in it."""
    if node.is_error or node.is_missing:
        yield node
    elif node.has_error:
        for child in node.children:
            yield from wrong(child)


def main(files: list[Path]) -> int:
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))
    found = 0
    for file in files or sorted(APP.glob("*.swift")):
        for node in wrong(parser.parse(file.read_bytes()).root_node):
            row, column = node.start_point
            print(f"{file}:{row + 1}:{column + 1}: {node}")
            found += 1
    return found


if __name__ == "__main__":
    sys.exit(main([Path(argument) for argument in sys.argv[1:]]))
