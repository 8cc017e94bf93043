"""The pod of an AgentSession, started cold; and the containers that it shares with a warm one.

init install-runner   copies the runner's static binary and writes a token
sidecar runner        the user's image, serving commands on the workspace; never sees the agent's secrets
agent                 the loop; never sees the workspace but through the runner
"""

from __future__ import annotations

from dspy_operator import names
from dspy_operator.desired import pod_parts as parts
from dspy_operator.desired import runner_env
from dspy_operator.settings import Settings
from dspy_operator.store import Object
from dspy_operator.tokens import scoped_token

RUNNER_PORT = 8080
AGENT_PORT = 9000


def session_pod(  # noqa: PLR0913 - all that a pod is made from
    session: Object,
    template: Object,
    settings: Settings,
    master_token: bytes,
    attempt: int,
    *,
    launch_reason: str = "",
) -> Object:
    """The manifest. `template` is the session's own, its pool's or empty; `attempt` counts its pods from 1.

    `launch_reason`: why it is not a warm pod, where the session would have taken one.
    """
    workspace = session["spec"].get("workspace", {})
    meta = parts.metadata(
        names.AGENT_SESSIONS, session, names.session_pod(session["metadata"]["name"]), attempt
    )
    if launch_reason:
        meta["annotations"][names.ANNOTATION_LAUNCH_REASON] = launch_reason
    agent = agent_container(settings, "session", _agent_env(session, workspace, master_token))
    agent["volumeMounts"] += parts.source_mounts(workspace)
    network = ["--network", parts.egress(session["spec"])]
    spec = pod_spec(settings, template, runner_container(settings, session["spec"], template, network), agent)
    spec["volumes"] += parts.source_volumes(workspace)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def pod_spec(settings: Settings, template: Object, runner: Object, agent: Object) -> Object:
    """The spec of a pod with these two containers."""
    spec = parts.pod_spec(settings, template, restart_policy="OnFailure")
    spec["initContainers"] = [parts.install_runner(settings), runner]
    spec["containers"] = [agent]
    spec["volumes"] = [
        parts.empty_dir(name) for name in ("bin", "token", "workspace", "forks", "tmp", "scratch")
    ]
    return spec


def runner_container(settings: Settings, spec: Object, template: Object, network: list[str]) -> Object:
    """The sidecar. `spec` has the session's env and envFrom; `network` is what the runner is told of it."""
    container = parts.user_container(settings, names.CONTAINER_RUNNER, spec, template)
    container["restartPolicy"] = "Always"  # what makes an init container a sidecar
    container["command"] = [
        parts.RUNNER,
        "serve",
        "--listen",
        f"127.0.0.1:{RUNNER_PORT}",  # the pod's own: nobody but the agent beside it has anything to ask
        "--token-file",
        parts.TOKEN_FILE,
        "--workspace",
        parts.WORKSPACE,
        "--forks-dir",
        "/forks",
        *network,
    ]
    container["env"] = [*container.get("env", []), *runner_env.of_serve(container["resources"])]
    container["volumeMounts"] = [
        parts.mount("bin", parts.BIN, read_only=True),
        parts.mount("token", "/dspy/token", read_only=True),
        parts.mount("workspace", parts.WORKSPACE),
        parts.mount("forks", "/forks"),
        parts.mount("tmp", "/tmp"),  # noqa: S108 - the container's own
    ]
    return container


def agent_container(settings: Settings, verb: str, variables: list[Object]) -> Object:
    """The agent. `variables` come before those that it always has."""
    container = parts.own_container(settings, names.CONTAINER_AGENT, settings.agent_image)
    container["args"] = [verb]
    container["env"] = [*variables, *_common_env(settings)]
    container["ports"] = [{"name": "agent", "containerPort": AGENT_PORT}]
    container["readinessProbe"] = {
        "httpGet": {"path": "/readyz", "port": "agent"},
        "periodSeconds": 1,
        "timeoutSeconds": 3,  # an agent at work may be slow to answer
        "failureThreshold": 3,
    }
    container["resources"] = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    container["volumeMounts"] = [
        parts.mount("token", "/dspy/token", read_only=True),
        parts.mount("scratch", "/scratch"),
    ]
    return container


def _agent_env(session: Object, workspace: Object, master_token: bytes) -> list[Object]:
    identity = {key: session["metadata"][key] for key in ("namespace", "name", "uid")}
    described = parts.compact_json({"metadata": identity, "spec": session["spec"]})
    variables = [
        parts.env("DSPY_AGENT_SESSION", described),
        parts.env("DSPY_AGENT_REDDB_TOKEN", scoped_token(master_token, names.session_prefix(**identity))),
        *parts.source_env(workspace),
    ]
    key = session["spec"].get("policy", {}).get("llm", {}).get("apiKeySecretRef")
    if key is not None:
        reference = {"name": key["name"], "key": key["key"]}
        variables.append({"name": "DSPY_AGENT_LLM_API_KEY", "valueFrom": {"secretKeyRef": reference}})
    return variables


def _common_env(settings: Settings) -> list[Object]:
    return [
        parts.env("DSPY_AGENT_LISTEN", f"0.0.0.0:{AGENT_PORT}"),
        parts.env("DSPY_AGENT_RUNNER_URL", f"http://127.0.0.1:{RUNNER_PORT}"),
        parts.env("DSPY_AGENT_RUNNER_TOKEN_FILE", parts.TOKEN_FILE),
        parts.env("DSPY_AGENT_REDDB_URL", settings.reddb_url),
        parts.env("DSPY_AGENT_REDDB_HTTP_URL", settings.reddb_http_url),
        parts.env("DSPY_AGENT_RETENTION_DAYS", str(settings.retention_days)),
        parts.env("DSPY_AGENT_TERMINATION_LOG", parts.TERMINATION_LOG),
        parts.env("HOME", "/scratch"),
        parts.env("TMPDIR", "/scratch"),
    ]
