"""What a template is: for a suspicious statement it proposes small textual edits, each with a prior."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from dspy_agent.policies.search.hints import Hints
from dspy_agent.policies.search.project import Project
from dspy_agent.policies.search.source import (
    Edit,
    Function,
    Source,
    loaded_names,
    local_names,
    own_expressions,
)


@dataclass(frozen=True)
class Proposal:
    """Edits of one file. `prior` in 0..1 says how often such a change is the repair, before seeing the failure."""

    edits: tuple[Edit, ...]
    prior: float


Template = Callable[["Site"], Iterator[Proposal]]


@dataclass(frozen=True)
class Site:
    """A suspicious statement with what templates ask about it."""

    source: Source
    statement: ast.stmt
    hints: Hints
    project: Project

    @cached_property
    def function(self) -> Function | None:
        """The function around the statement; the statement itself when it is one's signature."""
        if isinstance(self.statement, ast.FunctionDef | ast.AsyncFunctionDef):
            return self.statement
        return self.source.function_of(self.statement)

    @cached_property
    def expressions(self) -> list[ast.expr]:
        """Expressions of the statement's own lines, in the file's order, outer before inner."""
        found = [node for node in own_expressions(self.statement) if not self._in_format(node)]
        return sorted(found, key=lambda node: (node.lineno, node.col_offset, -(node.end_col_offset or 0)))

    def _in_format(self, node: ast.AST) -> bool:
        # Before 3.12 the parts of an f-string have no trustworthy position.
        return any(isinstance(parent, ast.JoinedStr) for parent in self.source.ancestors(node))

    @cached_property
    def locals(self) -> list[str]:
        """Names that the function knows and may use here: parameters and what was assigned before."""
        function = self.function
        if function is None:
            return []
        parameters = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        before = {
            node.id
            for node in ast.walk(function)
            if isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.lineno <= self.statement.lineno
        }
        return [name for name in local_names(function) if name in parameters | before]

    @cached_property
    def read(self) -> list[str]:
        """Local names that the statement's own lines read."""
        names = [node.id for node in self.expressions if isinstance(node, ast.Name)]
        return [name for name in dict.fromkeys(names) if name in self.locals]

    @cached_property
    def test(self) -> ast.expr | None:
        """The condition of an if or while statement."""
        return self.statement.test if isinstance(self.statement, ast.If | ast.While) else None

    def text(self, node: ast.AST) -> str:
        """The node's text."""
        return self.source.segment(node)

    def operand(self, node: ast.expr) -> str:
        """The node's text, fit to be an operand of `and`, `or`, `not` or an attribute access."""
        loose = (
            ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr, ast.Compare, ast.BinOp, ast.UnaryOp, ast.Await,
            ast.Yield, ast.YieldFrom, ast.GeneratorExp,
        )  # fmt: skip
        text = self.text(node)
        number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        return f"({text})" if isinstance(node, loose) or number else text

    def replace(self, node: ast.AST, text: str, prior: float) -> Proposal:
        """Put `text` in the node's place."""
        return Proposal((self.source.replace(node, text),), prior)

    def mentions(self, node: ast.AST) -> bool:
        """Whether the node reads a name that was None in the traceback."""
        return any(name in self.hints.none_names for name in loaded_names(node))
