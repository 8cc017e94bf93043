"""The pod of one attempt at an EnvTask.

init install-runner   copies the runner's static binary
init workspace        fetches the workspace into /workspace (where the spec names one)
init setup            runs the workspace's setup command in the user's image, through the runner
task                  the user's image: the runner runs the command once and reports through the termination log
"""

from __future__ import annotations

from dspy_operator import names
from dspy_operator.desired import pod_parts as parts
from dspy_operator.desired import runner_env
from dspy_operator.settings import Settings
from dspy_operator.store import Object
from dspy_operator.tokens import scoped_token

DEFAULT_TIMEOUT_S = 600
START_DEADLINE_S = 300  # for a pod on its node to begin, and between two of its containers: images
OVERRUN_S = 60  # for the runner to end a command after its timeout
_FETCH_S = 600  # for a workspace to be fetched and unpacked
_RESULT_LIMIT_BYTES = 4096  # what the kubelet keeps of a termination message


def envtask_pod(
    task: Object, settings: Settings, master_token: bytes, attempt: int, index: int | None = None
) -> Object:
    """The manifest of attempt number `attempt`, counted from 1; of run number `index`, from 0, where there are many."""
    template = task["spec"].get("template", {})
    spec = parts.pod_spec(settings, template, restart_policy="Never")
    spec["initContainers"] = _init_containers(task, template, settings, master_token)
    spec["containers"] = [_task(task, template, settings, index or 0)]
    spec["volumes"] = _volumes(task)
    spec["activeDeadlineSeconds"] = _active_deadline_s(task, len(spec["initContainers"]) + 1)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(task, attempt, index), "spec": spec}


def _metadata(task: Object, attempt: int, index: int | None) -> Object:
    name = task["metadata"]["name"]
    if index is None:
        return parts.metadata(names.ENV_TASKS, task, names.task_pod(name, attempt), attempt)
    made = parts.metadata(names.ENV_TASKS, task, names.run_pod(name, index, attempt), attempt)
    made["annotations"][names.ANNOTATION_INDEX] = str(index)
    return made


def _active_deadline_s(task: Object, containers: int) -> int:
    """A backup for when the operator is away: it ends what overruns long before. Counted from the pod's start."""
    spec = task["spec"]
    setup = spec.get("workspace", {}).get("setup")
    setup_s = setup.get("timeoutSeconds", DEFAULT_TIMEOUT_S) if setup else 0
    works_s: int = spec.get("timeoutSeconds", DEFAULT_TIMEOUT_S) + setup_s + _FETCH_S
    return works_s + containers * START_DEADLINE_S + 2 * OVERRUN_S


def _init_containers(task: Object, template: Object, settings: Settings, master_token: bytes) -> list[Object]:
    workspace = task["spec"].get("workspace", {})
    containers = [parts.install_runner(settings)]
    if any(workspace.get(source) for source in ("git", "configMapRef", "blob")):
        containers.append(_workspace(task, workspace, settings, master_token))
    if "setup" in workspace:
        setup = workspace["setup"]
        request = {
            "argv": setup["command"],
            "timeout_ms": setup.get("timeoutSeconds", DEFAULT_TIMEOUT_S) * 1000,
        }
        containers.append(_one_shot(task, template, settings, names.CONTAINER_SETUP, request))
    return containers


def _workspace(task: Object, workspace: Object, settings: Settings, master_token: bytes) -> Object:
    identity = {key: task["metadata"][key] for key in ("namespace", "name", "uid")}
    source = {name: value for name, value in workspace.items() if name != "setup"}
    container = parts.own_container(settings, names.CONTAINER_WORKSPACE, settings.agent_image)
    container["args"] = ["workspace", "--into", parts.WORKSPACE]
    container["env"] = [
        parts.env("DSPY_AGENT_WORKSPACE", parts.compact_json(source)),
        parts.env("DSPY_AGENT_REDDB_HTTP_URL", settings.reddb_http_url),
        parts.env("DSPY_AGENT_REDDB_TOKEN", scoped_token(master_token, names.task_prefix(**identity))),
        parts.env("DSPY_AGENT_TERMINATION_LOG", parts.TERMINATION_LOG),
        parts.env("HOME", "/scratch"),
        parts.env("TMPDIR", "/scratch"),
        *parts.source_env(workspace),
    ]
    container["resources"] = {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
    container["volumeMounts"] = [
        parts.mount("workspace", parts.WORKSPACE),
        parts.mount("scratch", "/scratch"),
        *parts.source_mounts(workspace),
    ]
    return container


def _task(task: Object, template: Object, settings: Settings, index: int) -> Object:
    spec = task["spec"]
    request = {
        "argv": [*spec["command"], *spec.get("args", [])],
        "timeout_ms": spec.get("timeoutSeconds", DEFAULT_TIMEOUT_S) * 1000,
    }
    for field, name in (("workingDir", "cwd"), ("stdin", "stdin")):
        if field in spec:
            request[name] = spec[field]
    container = _one_shot(task, template, settings, names.CONTAINER_TASK, request)
    # After the user's own: of two variables with one name the last one holds.
    container["env"].append(parts.env("JOB_COMPLETION_INDEX", str(index)))
    container["volumeMounts"] += [
        parts.mount(f"input-{index}", f"{parts.WORKSPACE}/{entry['path']}", read_only=True, sub_path="input")
        for index, entry in enumerate(spec.get("inputs", []))
    ]
    return container


def _one_shot(task: Object, template: Object, settings: Settings, name: str, request: Object) -> Object:
    container = parts.user_container(settings, name, task["spec"], template)
    # A command has the network where the runner may give it and the request asks for it: the spec decides both.
    request = {**request, "network": parts.egress(task["spec"]) == "allow"}
    container["env"] = [*container.get("env", []), *runner_env.of_run(container["resources"])]
    container["command"] = [
        parts.RUNNER,
        "run",
        "--request",
        parts.literal(parts.compact_json(request)),
        "--workspace",
        parts.WORKSPACE,
        "--result-file",
        parts.TERMINATION_LOG,
        "--result-limit-bytes",
        str(_RESULT_LIMIT_BYTES),
        "--network",
        parts.egress(task["spec"]),
        "--max-timeout-ms",
        str(request["timeout_ms"]),
    ]
    container["volumeMounts"] = [
        parts.mount("bin", parts.BIN, read_only=True),
        parts.mount("workspace", parts.WORKSPACE),
        parts.mount("tmp", "/tmp"),  # noqa: S108 - the container's own
    ]
    return container


def _volumes(task: Object) -> list[Object]:
    workspace = task["spec"].get("workspace", {})
    inputs = [
        {"name": f"input-{index}", "configMap": _selected(entry["configMapKeyRef"])}
        for index, entry in enumerate(task["spec"].get("inputs", []))
    ]
    return [
        *(parts.empty_dir(name) for name in ("bin", "token", "workspace", "tmp", "scratch")),
        *parts.source_volumes(workspace),
        *inputs,
    ]


def _selected(reference: Object) -> Object:
    return {"name": reference["name"], "items": [{"key": reference["key"], "path": "input"}]}
