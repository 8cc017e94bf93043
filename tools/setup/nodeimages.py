"""The archives of the images that the local cluster's node needs, each made of one static binary."""

from __future__ import annotations

from tools.cluster.archive import write_from_binary
from tools.cluster.local.layout import COREDNS_IMAGE, PAUSE_IMAGE
from tools.common import paths
from tools.images import store
from tools.setup.thing import Thing, key_of, stamp, stamped, write_stamp


def node_image(name: str, tag: str) -> Thing:
    binary = paths.tool(name)

    def key() -> str:
        return key_of(tag, files=[stamp(name)]) if stamp(name).exists() else ""

    def install() -> None:
        store.folder().mkdir(parents=True, exist_ok=True)
        write_from_binary(store.latest(name), tag, binary, [f"/{name}"])
        write_stamp(f"image-{name}", key())

    return Thing(
        f"image {tag}",
        "cluster",
        lambda: store.latest(name).exists() and stamped(f"image-{name}", key()),
        install,
    )


def node_images() -> list[Thing]:
    return [node_image("pause", PAUSE_IMAGE), node_image("coredns", COREDNS_IMAGE)]
