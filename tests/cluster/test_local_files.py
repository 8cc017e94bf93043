"""What the local provider derives from a cluster's name and slot, without starting anything."""

from __future__ import annotations

import base64
import itertools
import tomllib
from pathlib import Path

import pytest

from tools.cluster.local import addons, cgroups, config
from tools.cluster.local.certificates import certificates
from tools.cluster.local.components import components
from tools.cluster.local.layout import ADDRESSES, INSIDE, PAUSE_IMAGE, SLOTS, Layout
from tools.cluster.provider import Options

LAYOUT = Layout("dev", 3, "c0ffee")


def test_slots_share_no_address_and_stay_in_the_range() -> None:
    networks = [Layout("x", slot, "c0ffee").network for slot in range(SLOTS)]
    assert all(network.subnet_of(ADDRESSES) for network in networks)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))


def test_a_slots_networks_do_not_overlap() -> None:
    assert not LAYOUT.pods.overlaps(LAYOUT.services)
    for address in (LAYOUT.host_address, LAYOUT.node_address):
        assert address in LAYOUT.network
        assert address not in LAYOUT.pods
        assert address not in LAYOUT.services
    assert LAYOUT.dns_address in LAYOUT.services


def test_a_slot_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        Layout("x", SLOTS, "c0ffee")


def test_link_names_fit_the_kernels_limit() -> None:
    assert len(Layout("x", SLOTS - 1, "c0ffee").link) < 16


def test_containerd_reads_its_configuration() -> None:
    parsed = tomllib.loads(config.containerd())
    plugin = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert plugin["sandbox_image"] == PAUSE_IMAGE
    assert plugin["restrict_oom_score_adj"] is True


def test_pods_get_addresses_of_the_slot_and_dns_of_the_cluster() -> None:
    plugins = config.cni(LAYOUT)["plugins"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": str(LAYOUT.pods)}]]
    assert config.kubelet(LAYOUT)["clusterDNS"] == [str(LAYOUT.dns_address)]
    assert config.kubelet(LAYOUT)["cgroupRoot"] == f"/{LAYOUT.cgroup}"


def test_a_kubeconfig_holds_its_credentials(tmp_path: Path) -> None:
    for file in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / file).write_text(file)
    made = config.kubeconfig(tmp_path, "admin", LAYOUT.api_url)
    assert base64.b64decode(made["users"][0]["user"]["client-key-data"]) == b"admin.key"
    assert made["clusters"][0]["cluster"]["server"] == f"https://{LAYOUT.node_address}:6443"


def test_private_files_are_private(tmp_path: Path) -> None:
    config.write_private(tmp_path / "key", "secret")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_components_wait_only_for_earlier_ones() -> None:
    seen: set[str] = set()
    for component in components(LAYOUT):
        assert set(component.after) <= seen
        seen.add(component.name)


def test_no_component_is_told_a_path_of_the_host() -> None:
    words = [word for component in components(LAYOUT) for word in component.argv[1:]]
    paths = [word.partition("=")[2] for word in words if "=/" in word]
    assert paths
    assert all(path.startswith((str(INSIDE), "/var/lib/")) for path in paths)


def test_the_apiservers_certificate_names_its_addresses() -> None:
    apiserver = next(each for each in certificates(LAYOUT) if each.file == "apiserver")
    assert f"IP:{LAYOUT.api_service_address}" in apiserver.names
    assert f"IP:{LAYOUT.node_address}" in apiserver.names
    assert "DNS:kubernetes.default.svc" in apiserver.names


@pytest.mark.parametrize(
    ("nat", "upstream"), [(True, "forward . /etc/resolv.conf"), (False, "rcode NXDOMAIN")]
)
def test_dns_asks_outside_only_with_nat(nat: bool, upstream: str) -> None:
    manifest = addons.manifest(LAYOUT, Options(nat=nat))
    assert upstream in manifest
    assert f"clusterIP: {LAYOUT.dns_address}" in manifest
    assert "{{" not in manifest


def test_cgroups_are_made_and_removed_in_every_v1_hierarchy(tmp_path: Path) -> None:
    for hierarchy in ("memory", "cpu"):
        (tmp_path / hierarchy).mkdir()
    (tmp_path / "cpuacct").symlink_to("cpu")
    cgroups.create("x", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if (path / "x").is_dir()) == [
        "cpu",
        "cpuacct",
        "memory",
    ]
    (tmp_path / "cpu" / "x" / "pod").mkdir()
    cgroups.remove("x", tmp_path)
    assert list(tmp_path.rglob("x")) == []


def test_cgroups_of_another_cluster_stay(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    other = [Layout("dev", 3, "another"), Layout("dev", 31, "c0ffee")]
    for layout in (LAYOUT, *other):
        cgroups.create(layout.cgroup, tmp_path)
    cgroups.remove(LAYOUT.cgroup, tmp_path)
    assert {path.name for path in (tmp_path / "memory").iterdir()} == {layout.cgroup for layout in other}
    cgroups.remove(LAYOUT.slot_cgroups, tmp_path)
    assert [path.name for path in (tmp_path / "memory").iterdir()] == [other[1].cgroup]


def test_on_v2_there_is_one_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "system.slice").mkdir()
    assert cgroups.hierarchies(tmp_path) == [tmp_path]
