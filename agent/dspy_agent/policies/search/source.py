"""A Python file as text and tree together: nodes know their exact span, so that edits keep the file's formatting."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda)
BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Edit:
    """Replace the characters `start:end` by `text`."""

    start: int
    end: int
    text: str


class Source:
    """One parsed file. Raises SyntaxError or ValueError from the constructor when Python cannot parse it."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.tree = ast.parse(text)
        self.lines = text.splitlines(keepends=True)
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def _line_starts(self) -> list[int]:
        starts, position = [0], 0
        # ast counts lines as the tokenizer does: form feeds and separators such as \x1c do not end one.
        for line in self.text.split("\n"):
            position += len(line) + 1
            starts.append(position)
        return starts

    def offset(self, line: int, column: int) -> int:
        """Characters from the file's start; `column` counts UTF-8 bytes, as ast does."""
        start = self._line_starts[line - 1]
        text = self.text[start : self._line_starts[line]]
        return start + (column if text.isascii() else len(text.encode()[:column].decode()))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """The node's first character and the one after its last; decorators included for definitions."""
        first = min([node, *getattr(node, "decorator_list", [])], key=lambda part: part.lineno)
        start = self.offset(first.lineno, first.col_offset)
        if first is not node:
            start = self.text.rindex("@", 0, start)
        return start, self.offset(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def segment(self, node: ast.AST) -> str:
        """The node's own text."""
        start, end = self.span(node)
        return self.text[start:end]

    @cached_property
    def definition_spans(self) -> list[tuple[int, int]]:
        """Whole-line spans of every function, method and top-level statement."""
        nodes = [
            node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS) or node in self.tree.body
        ]
        spans = [self.span(node) for node in nodes]
        return [(self.line_start(start), self.line_end(end)) for start, end in spans]

    @cached_property
    def outer_functions(self) -> list[Function]:
        """Functions and methods that are not inside another function."""
        nodes = [node for node in ast.walk(self.tree) if isinstance(node, FUNCTIONS)]
        return [node for node in nodes if self.function_of(node) is None]

    def line_end(self, offset: int) -> int:
        """The character after the line that holds `offset`, its line end included."""
        end = self.text.find("\n", offset)
        return len(self.text) if end < 0 else end + 1

    def replace(self, node: ast.AST, text: str) -> Edit:
        """An edit that puts `text` in the node's place."""
        return Edit(*self.span(node), text)

    def line_start(self, offset: int) -> int:
        """Where the line that holds `offset` begins."""
        return self.text.rfind("\n", 0, offset) + 1

    def own_lines(self, statement: ast.stmt) -> bool:
        """Whether the statement shares none of its lines with another statement (`if x: y`, `a; b`)."""
        start, end = self.span(statement)
        after = self.text[end : self._line_starts[statement.end_lineno or 0]].strip()
        return not self.text[self.line_start(start) : start].strip() and (not after or after.startswith("#"))

    def own_lines_before(self, statement: ast.stmt) -> bool:
        """Whether lines may be inserted before the statement: it starts its line and is no `elif`."""
        start, _ = self.span(statement)
        return (
            not self.text[self.line_start(start) : start].strip() and self.text[start : start + 4] != "elif"
        )

    def indent(self, statement: ast.stmt) -> str:
        """The white space before the statement."""
        start, _ = self.span(statement)
        return self.text[self.line_start(start) : start]

    def insert_before(self, statement: ast.stmt, lines: str) -> Edit:
        """Insert lines (relative indentation) before a statement, indented as it is."""
        start = self.line_start(self.span(statement)[0])
        return Edit(start, start, self.indented(lines, self.indent(statement)))

    def insert_after(self, statement: ast.stmt, lines: str) -> Edit:
        """Insert lines after a statement, indented as it is."""
        end = self._line_starts[statement.end_lineno or 0]
        text = self.indented(lines, self.indent(statement))
        if end > len(self.text):
            end, text = len(self.text), self.newline + text
        return Edit(end, end, text)

    def indented(self, lines: str, indent: str) -> str:
        """The lines with `indent` before each and this file's line ends."""
        return "".join(f"{indent}{line}{self.newline}" for line in lines.splitlines())

    def delete_lines(self, statement: ast.stmt) -> Edit:
        """Remove a statement with its lines."""
        start = self.line_start(self.span(statement)[0])
        return Edit(start, min(self._line_starts[statement.end_lineno or 0], len(self.text)), "")

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Parents from the nearest outwards."""
        current = self.parents.get(node)
        while current is not None:
            yield current
            current = self.parents.get(current)

    def function_of(self, node: ast.AST) -> Function | None:
        """The function whose body holds the node."""
        return next((parent for parent in self.ancestors(node) if isinstance(parent, FUNCTIONS)), None)

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The nearest class around the node."""
        return next((parent for parent in self.ancestors(node) if isinstance(parent, ast.ClassDef)), None)

    def block_of(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statement list that holds the statement."""
        for _, value in ast.iter_fields(self.parents[statement]):
            if isinstance(value, list) and statement in value:
                return value
        return [statement]


def apply(text: str, edits: tuple[Edit, ...]) -> str:
    """The text after the edits, which must not overlap."""
    for edit in sorted(edits, key=lambda item: (item.start, item.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def own_expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Expressions of the statement's own lines: not those of nested statements or of nested definitions' bodies."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.expr):
            yield node
        stack += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]


def loaded_names(node: ast.AST) -> list[str]:
    """Names that the node reads, in order, each once."""
    names = [
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)
    ]
    return list(dict.fromkeys(names))


def local_names(function: Function | None) -> list[str]:
    """Parameters and assigned names of a function, in order of appearance."""
    if function is None:
        return []
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    parameters += [extra for extra in (arguments.vararg, arguments.kwarg) if extra]
    names = [parameter.arg for parameter in parameters]
    names += [
        part.id
        for part in ast.walk(function)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    ]
    return list(dict.fromkeys(names))
