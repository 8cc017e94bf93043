# mypy: ignore-errors
# Runs in the user's interpreter (3.9 or newer), without this package.
"""Children of a forking server: started, timed, killed with whatever they left running, and reaped."""

import os
import resource
import select
import signal
import time

MEMORY_BYTES = 2 << 30


class Pool:
    """At most `jobs` children at a time; each is a function that returns an exit status."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.running = {}
        self.poll = select.poll()

    def full(self):
        """Whether another child has to wait."""
        return len(self.running) >= self.jobs

    def start(self, tag, work, seconds):
        """Fork a child that runs `work` silently in a process group of its own."""
        child = os.fork()
        if child == 0:
            code = 1
            try:
                silence()
                code = exit_status(work)
            finally:
                os._exit(code)
        try:
            os.setpgid(child, child)
        except OSError:  # the child did it first, or is gone already
            pass
        handle = os.pidfd_open(child)
        self.poll.register(handle, select.POLLIN)
        self.running[handle] = (child, tag, time.monotonic() + seconds)

    def wait(self):
        """Block until a child ended or ran out of time; `[(tag, exit status or None for a timeout)]`."""
        deadline = min(child[2] for child in self.running.values())
        ready = {handle for handle, _ in self.poll.poll(max(0.0, deadline - time.monotonic()) * 1000 + 1)}
        now = time.monotonic()
        late = {handle for handle, child in self.running.items() if child[2] < now} - ready
        return [self._reap(handle, handle in late) for handle in sorted(ready | late)]

    def _reap(self, handle, late):
        child, tag, _ = self.running.pop(handle)
        try:
            os.killpg(child, signal.SIGKILL)
        except OSError:  # nothing is left of the group
            pass
        self.poll.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(child, 0)
        return tag, None if late else os.waitstatus_to_exitcode(status)


def silence():
    """In the child: own process group, bounded memory, nothing to read and nothing to print."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def exit_status(work):
    """What `work` returns, or what its exception stands for; nothing may reach the parent's frames."""
    try:
        return work()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # whatever the candidate raises, it failed
        return 1
