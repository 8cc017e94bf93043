"""An OpenAI-compatible endpoint that plays a model: it answers each turn of policy llm from a script.

Real HTTP, standard library only: `python3 scripted_endpoint.py --listen 127.0.0.1:8000` serves it anywhere, a pod
included; port 0 is any free one, and the URL is printed once it listens. It wants the API key `secret-key`. The script
is the same for every repository: list the files, read the one that it knows a repair for, edit it, run the check,
finish. It knows where it is from the steps that the prompt already holds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# file → the piece to replace and what to put there
REPAIRS = {
    "pages.py": ("% per_page > 1", "% per_page > 0"),
    "last.py": ("items[len(items)]", "items[len(items) - 1]"),
}
API_KEY = "secret-key"
STEP_MARK = "### step "
UNREADABLE_MARK = ": unreadable "


class ScriptedEndpoint(ThreadingHTTPServer):
    """`requests` are the bodies that came in; `failures` is a list of statuses to answer with first,
    `says` one of answers that come before the script's.

    `retry_after` goes with failures. Unless `speaks` is set, no answer comes: `asked` tells that a request is waiting
    for one; with `dripping` white space comes all the while, as some gateways send to keep a connection open.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], api_key: str | None = None) -> None:
        super().__init__(address, _Handler)
        self.api_key = api_key
        self.requests: list[dict[str, Any]] = []
        self.failures: list[int] = []
        self.says: list[str] = []
        self.retry_after: str | None = None
        self.speaks = threading.Event()
        self.speaks.set()
        self.asked = threading.Event()
        self.dripping = False

    @property
    def url(self) -> str:
        """The base URL, as a client is given it."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def serve_in_thread(self) -> threading.Thread:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        return thread


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedEndpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._reply(200, {"status": "ok"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        if not self.server.speaks.is_set():
            self._stay_silent()
        elif self.server.failures:
            status = self.server.failures.pop(0)
            self._reply(status, {"error": {"message": f"scripted failure {status}", "type": "scripted"}})
        elif not self.path.endswith("/chat/completions"):
            self._reply(404, {"error": {"message": f"no route {self.path}", "type": "not_found"}})
        elif self.server.api_key and self.headers.get("Authorization") != f"Bearer {self.server.api_key}":
            self._reply(401, {"error": {"message": "invalid api key", "type": "authentication_error"}})
        else:
            says = self.server.says
            self._reply(200, completion(body, says.pop(0) if says else None))

    def _stay_silent(self) -> None:
        self.close_connection = True
        if self.server.dripping:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
        self.server.asked.set()
        with contextlib.suppress(OSError):  # the client may hang up, which nobody here minds
            while not self.server.speaks.wait(0.05):
                if self.server.dripping:
                    self.wfile.write(b" ")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Silent: tests read `requests`."""

    def _reply(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if status != 200 and self.server.retry_after:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def completion(body: dict[str, Any], says: str | None = None) -> dict[str, Any]:
    """The answer to one request, with a plausible count of tokens (4 characters each)."""
    prompt = json.dumps(body["messages"])
    answer = says or next_answer(prompt)
    sent, said = len(prompt) // 4, len(answer) // 4
    return {
        "id": "scripted",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
        ],
        "usage": {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said},
    }


def next_answer(prompt: str) -> str:
    """The next step's fields in dspy's chat format."""
    known = next((path for path in REPAIRS if f'"{path}' in prompt.replace("\\", "")), "pages.py")
    old, new = REPAIRS[known]
    script: list[tuple[str, str, dict[str, object]]] = [
        ("I look at what is here.", "list_files", {"glob": "**/*.py"}),
        (f"I read {known}.", "read_file", {"path": known}),
        ("The bound is wrong.", "edit", {"path": known, "old": old, "new": new}),
        ("I verify.", "run_check", {}),
        ("It passes.", "finish", {"summary": f"Corrected a bound in {known}."}),
    ]
    done = prompt.count(STEP_MARK) - prompt.count(UNREADABLE_MARK)
    thought, tool, arguments = script[min(done, len(script) - 1)]
    fields = {"thought": thought, "tool": tool, "arguments": json.dumps(arguments)}
    parts = [f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:8000", help="host:port")
    parser.add_argument("--api-key", default=API_KEY, help="refuse requests without it; default %(default)s")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    server = ScriptedEndpoint((host, int(port)), arguments.api_key)
    print(f"listening on {server.url}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
