"""A single-node cluster in namespaces of its own, on a Linux machine where we are root.

One process, the supervisor, is the first process of a PID namespace and sits in a mount, network, UTS and
IPC namespace that hold everything the cluster makes. When it dies, however it dies, the kernel ends every
process of the cluster and drops every mount, link, route and packet-filter rule with them. Left on the host
are one folder and empty cgroups, which `down` or the next `up` removes.
"""
