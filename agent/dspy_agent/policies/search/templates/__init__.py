"""All templates by name, one module per family. A new one is a function and a row in its module's TEMPLATES."""

from dspy_agent.policies.search.templates import (
    calls,
    conditions,
    guards,
    names,
    regexes,
    statements,
    strings,
    values,
)
from dspy_agent.policies.search.templates.base import Proposal, Site, Template

FAMILIES = (conditions, values, names, calls, strings, regexes, guards, statements)
TEMPLATES: dict[str, Template] = {
    name: template for family in FAMILIES for name, template in family.TEMPLATES.items()
}

__all__ = ["TEMPLATES", "Proposal", "Site", "Template"]
