package slurm

import "syscall"

// noFollow keeps an open from following a link and from waiting for a pipe's other end.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
