"""What the rest of the program offers to templates: signatures, attributes and classes by name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dspy_agent.policies.search.source import FUNCTIONS, Source


@dataclass
class Project:
    """An index over the suspicious files."""

    signatures: dict[str, list[str]] = field(default_factory=dict)
    attributes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    self_attributes: dict[ast.ClassDef, list[str]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    imports: dict[str, set[str]] = field(default_factory=dict)


def index(sources: Iterable[Source]) -> Project:
    """Read the files once. `signatures` maps a function's or class's name to its parameters less self."""
    project = Project()
    for source in sources:
        project.imports[source.path] = set(_imported(source.tree))
        for node in ast.walk(source.tree):
            if isinstance(node, FUNCTIONS):
                _index_function(project, source, node)
            elif isinstance(node, ast.ClassDef):
                project.classes.append(node.name)
                project.self_attributes[node] = _self_attributes(node)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                project.attributes[node.value.id].add(node.attr)
    return project


def _index_function(project: Project, source: Source, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    parameters = [
        argument.arg for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    ]
    if node.args.kwarg:
        parameters += _taken_keywords(node, node.args.kwarg.arg)
    owner = source.parents.get(node)
    if isinstance(owner, ast.ClassDef):
        parameters = parameters[1:]
        if node.name == "__init__":
            project.signatures.setdefault(owner.name, parameters)
    project.signatures.setdefault(node.name, parameters)


def _taken_keywords(node: ast.AST, mapping: str) -> list[str]:
    """Keywords that a function takes out of its `**kwargs` by name: `kwargs.pop("x", None)`."""
    return [
        str(call.args[0].value)
        for call in ast.walk(node)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("pop", "get")
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == mapping
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and str(call.args[0].value).isidentifier()
    ]


def _imported(tree: ast.Module) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0]


def _self_attributes(node: ast.ClassDef) -> list[str]:
    names = [
        part.attr
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self"
    ]
    return list(dict.fromkeys(names))
