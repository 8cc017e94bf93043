"""The policy: ask the model for the next call, make it, show the model what came of it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

import dspy  # type: ignore[import-untyped]
from dspy.utils.exceptions import AdapterParseError  # type: ignore[import-untyped]

from dspy_agent.core.policy import Context, Finish, Observation, Task, ToolCall
from dspy_agent.core.tools import Tool
from dspy_agent.policies.llm.transcript import Step, render

FINISH = "finish"
# An answer that cannot be read is told to the model; a model that never learns is stopped.
MAX_UNREADABLE = 3
SMALLEST_CONTEXT = 4_000


class NextStep(dspy.Signature):  # type: ignore[misc]
    """You repair a repository so that its check passes. Choose one tool call, and base it on what you observed.

    Read before you edit. Edits are exact: `old` must occur once. Run the check after an edit; when it passes, call
    finish with a summary of what was wrong.
    """

    task: str = dspy.InputField(desc="what is asked for, and the check that decides")
    tools: str = dspy.InputField(desc="the tools, a JSON schema each")
    steps: str = dspy.InputField(desc="what was done so far")
    thought: str = dspy.OutputField(desc="why this step, in a sentence or two")
    tool: str = dspy.OutputField(desc="name of the tool")
    arguments: dict[str, Any] = dspy.OutputField(desc="its arguments, a JSON object")


class LlmPolicy:
    """One completion per turn, in dspy's chat format, which every endpoint that completes chats can speak."""

    def __init__(self, tools: Mapping[str, Tool], context_characters: int) -> None:
        self._tools = "\n".join(_describe(tool) for tool in tools.values())
        self._context_characters = context_characters
        self._adapter = dspy.ChatAdapter()

    def steps(self, task: Task, context: Context) -> Generator[ToolCall, Observation, Finish]:
        done: list[Step] = []
        limit, unreadable = self._context_characters, 0
        while True:
            answer = yield ToolCall("llm", {"messages": self._messages(task, context, done, limit)})
            if not answer.ok and answer.value["code"] == "BudgetExhausted":
                return Finish("BudgetExhausted", str(answer.value["message"]))
            if not answer.ok:
                # The window is smaller than we thought: show less.
                if limit // 2 < SMALLEST_CONTEXT:
                    return Finish("PolicyGaveUp", str(answer.value.get("message")))
                limit //= 2
                continue
            try:
                thought, call = self._read(str(answer.value["text"]))
            except (AdapterParseError, ValueError, RecursionError) as error:
                unreadable += 1
                if unreadable >= MAX_UNREADABLE:
                    return Finish("PolicyGaveUp", f"The model's answers cannot be read: {str(error)[:300]}")
                done.append(_unreadable(str(answer.value["text"]), error))
                continue
            unreadable = 0
            if call.tool == FINISH:
                return Finish("Done", str(call.arguments.get("summary") or thought))
            done.append(Step(thought, call, (yield call)))

    def _messages(self, task: Task, context: Context, done: list[Step], limit: int) -> list[dict[str, Any]]:
        before = context.check_before
        asked = (
            f"{task.prompt}\n\nThe check: {json.dumps(list(task.check))}\n"
            f"Before any change it ended with exit code {before.get('exit_code')}:\n"
            f"{_tail(before, 'stdout_tail')}\n{_tail(before, 'stderr_tail')}\n"
            f"Protected, never edit: {', '.join(task.protected_paths) or 'nothing'}"
        )
        inputs = {"task": asked, "tools": self._tools, "steps": render(done, limit)}
        messages: list[dict[str, Any]] = self._adapter.format(NextStep, [], inputs)
        return messages

    def _read(self, text: str) -> tuple[str, ToolCall]:
        fields = self._adapter.parse(NextStep, text)
        if fields["tool"] == "llm" or not isinstance(fields["arguments"], dict):
            raise ValueError("Name one of the tools, with a JSON object of arguments.")
        # Infinity, nan and half of a surrogate pair are read, but neither the log nor a tool could write them.
        json.dumps(fields["arguments"], allow_nan=False, ensure_ascii=False).encode()
        return fields["thought"], ToolCall(fields["tool"].strip(), fields["arguments"])


def _describe(tool: Tool) -> str:
    schema = {"type": "object", "properties": tool.parameters, "required": list(tool.required)}
    return json.dumps({"name": tool.name, "description": tool.description, "parameters": schema})


def _unreadable(text: str, error: Exception) -> Step:
    call = ToolCall("unreadable", {"answer": text[:1000]})
    message = f"The answer could not be read ({str(error)[:300]}); keep to the fields and their markers."
    return Step("", call, Observation(False, {"code": "Unreadable", "message": message}))


def _tail(value: Mapping[str, Any], name: str) -> str:
    return str(value.get(name, ""))[-4000:]
