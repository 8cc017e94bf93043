// Package slurm runs tasks as Slurm jobs, by Slurm's commands or its REST API.
//
// A job is found by its name, "dspy-<task id>": Run takes up the job of that name where there is
// one and submits it where there is none, so an orchestrator that restarts submits nothing twice. What the
// job runs is always the same script (wrapper.sh); the task's arguments reach it as an array in the environment.
//
// A task has a folder of its own in the spool, which orchestrator and nodes share:
//
//	<spool>/<task id>/stdin              what the command reads
//	<spool>/<task id>/<job>.out, .err    what it writes; <job>_<index> for an element of an array
//	<spool>/<task id>/<job>.end          how it ended, by the script itself: for when Slurm has forgotten the job
//	<spool>/<task id>/work               the working directory, unless the task names one
//
// Without a spool, tasks have no standard input and results no output.
package slurm
