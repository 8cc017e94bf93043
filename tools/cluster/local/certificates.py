"""The cluster's certificate authority and every certificate that it signs, made with the openssl command."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tools.cluster.local.layout import Layout
from tools.common.process import run

# Longer than any test cluster lives, shorter than anyone would trust it by mistake.
DAYS = "365"
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class Certificate:
    """What one certificate states. Kubernetes reads the user from `user` and its groups from `groups`."""

    file: str
    user: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = field(default=())

    @property
    def subject(self) -> str:
        return "".join(f"/O={group}" for group in self.groups) + f"/CN={self.user}"

    @property
    def usage(self) -> str:
        return "serverAuth" if self.names else "clientAuth"


def certificates(layout: Layout) -> list[Certificate]:
    service = ["kubernetes", "default", "svc", "cluster", "local"]
    service_names = tuple(f"DNS:{'.'.join(service[:count])}" for count in (1, 2, 3, len(service)))
    own = (f"IP:{layout.node_address}", "IP:127.0.0.1", "DNS:localhost")
    return [
        Certificate(
            "apiserver", "kube-apiserver", names=(f"IP:{layout.api_service_address}", *own, *service_names)
        ),
        Certificate("kubelet-serving", layout.node, names=(f"DNS:{layout.node}", *own)),
        Certificate("admin", "kubernetes-admin", ("system:masters",)),
        Certificate("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ("system:masters",)),
        Certificate("kube-controller-manager", "system:kube-controller-manager"),
        Certificate("kube-scheduler", "system:kube-scheduler"),
        Certificate("kube-proxy", "system:kube-proxy"),
        # On the node as root anyway, and it starts before any role could be applied for it.
        Certificate("provisioner", "dspyagent:provisioner", ("system:masters",)),
        Certificate("kubelet", f"system:node:{layout.node}", ("system:nodes",)),
    ]


def make(directory: Path, layout: Layout) -> None:
    """Write ca.crt, a key and certificate per entry, and the service accounts' key pair into `directory`."""
    directory.mkdir(mode=0o700)
    # An empty configuration: the system's own adds extensions that repeat ours.
    (directory / "openssl.cnf").write_text("[req]\ndistinguished_name = none\n[none]\n")
    _authority(directory)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda certificate: _sign(directory, certificate), certificates(layout)))
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", directory / "sa.key"])
    run(["openssl", "ec", "-in", directory / "sa.key", "-pubout", "-out", directory / "sa.pub"])


def _request(directory: Path, file: str, subject: str, *extensions: str) -> list[str | Path]:
    added = [word for extension in extensions for word in ("-addext", extension)]
    config: list[str | Path] = ["-config", directory / "openssl.cnf", "-days", DAYS, "-subj", subject]
    output: list[str | Path] = ["-keyout", directory / f"{file}.key", "-out", directory / f"{file}.crt"]
    return ["openssl", "req", "-x509", *NEW_KEY, *config, *output, *added]


def _authority(directory: Path) -> None:
    extensions = (
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,keyCertSign,cRLSign",
        "subjectKeyIdentifier=hash",
    )
    run(_request(directory, "ca", "/CN=dspy-agent-local", *extensions))


def _sign(directory: Path, certificate: Certificate) -> None:
    extensions = ["basicConstraints=critical,CA:FALSE", f"extendedKeyUsage={certificate.usage}"]
    if certificate.names:
        extensions.append(f"subjectAltName={','.join(certificate.names)}")
    signer: list[str | Path] = ["-CA", directory / "ca.crt", "-CAkey", directory / "ca.key"]
    run([*_request(directory, certificate.file, certificate.subject, *extensions), *signer])
