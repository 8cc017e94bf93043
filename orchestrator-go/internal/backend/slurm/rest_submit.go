package slurm

import (
	"strconv"
	"strings"
	"time"
)

// pastStart is since when accounts are asked for: a month.
func pastStart(version int, now time.Time) string {
	since := now.AddDate(0, -1, 0)
	if version < 40 {
		return since.Format("2006-01-02T15:04:05")
	}
	return strconv.FormatInt(since.Unix(), 10)
}

// submitBody is the body of job/submit.
func submitBody(version int, s submission) map[string]any {
	o := s.options
	j := map[string]any{
		"name": s.name, "comment": s.comment, "current_working_directory": "/",
		"standard_input": s.stdin, "standard_output": s.stdout, "standard_error": s.stderr,
	}
	text := func(key, value string) {
		if value != "" {
			j[key] = value
		}
	}
	text("account", o.Account)
	text("partition", o.Partition)
	text("qos", o.QOS)
	text("constraints", o.Constraint)
	text("reservation", o.Reservation)
	text("array", o.Array)
	count := func(key string, value int) {
		if value > 0 {
			j[key] = value
		}
	}
	count("tasks_per_node", o.TasksPerNode)
	count("cpus_per_task", o.CPUsPerTask)
	if version < 39 {
		oldKeys(j, s)
		return map[string]any{"script": s.script, "job": j}
	}
	j["script"], j["environment"], j["requeue"] = s.script, s.env, o.Requeue
	j["open_mode"] = []string{"TRUNCATE"}
	count("minimum_nodes", o.Nodes)
	if s.minutes > 0 {
		j["time_limit"] = set(s.minutes)
	}
	if o.MemoryMB > 0 {
		j["memory_per_node"] = set(o.MemoryMB)
	}
	if o.Gres != "" {
		j["tres_per_node"] = tres(version, o.Gres)
	}
	return map[string]any{"script": s.script, "job": j}
}

// oldKeys sets what v0.0.38 takes as sbatch's options. Its argv crashes slurmrestd 22.05, and its requeue is on
// whatever its value is.
func oldKeys(j map[string]any, s submission) {
	env := map[string]string{}
	for _, entry := range s.env {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	j["environment"], j["open_mode"] = env, "truncate"
	if s.options.Requeue {
		j["requeue"] = true
	} else {
		j["no_requeue"] = true
	}
	if s.options.Nodes > 0 {
		j["nodes"] = strconv.Itoa(s.options.Nodes)
	}
	if s.minutes > 0 {
		j["time_limit"] = s.minutes
	}
	if s.options.MemoryMB > 0 {
		j["memory_per_node"] = strconv.FormatInt(s.options.MemoryMB, 10) + "M"
	}
	if s.options.Gres != "" {
		j["gres"] = s.options.Gres
	}
}

func set(value int64) map[string]any {
	return map[string]any{"set": true, "infinite": false, "number": value}
}

// tres writes gres:gpu:2 (23.02) or gres/gpu:2 for --gres=gpu:2.
func tres(version int, gres string) string {
	separator := "/"
	if version < 40 {
		separator = ":"
	}
	parts := strings.Split(gres, ",")
	for i, part := range parts {
		parts[i] = "gres" + separator + part
	}
	return strings.Join(parts, ",")
}
