package slurm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// What differs between the versions of the REST API is all in this file and in rest_submit.go.
//
//	              38          39                     40 and later
//	numbers       plain       plain or set/number    {"set":true,"infinite":false,"number":1}
//	job_state     string      string                 list: state and flags
//	exit_code     wait status wait status            {"status":[…],"return_code":…,"signal":{"id":…}}
//	environment   object      list                   list
//	requeue       two keys    boolean                boolean

// number is an integer in any of its shapes; unset and infinite ones are 0.
type number struct{ value int64 }

func (n *number) UnmarshalJSON(data []byte) error {
	n.value = 0
	if string(data) == "null" {
		return nil
	}
	if data[0] != '{' {
		var plain float64
		if err := json.Unmarshal(data, &plain); err != nil {
			return err
		}
		n.value = int64(plain)
		return nil
	}
	var shape struct {
		Set      bool    `json:"set"`
		Infinite bool    `json:"infinite"`
		Number   float64 `json:"number"`
	}
	if err := json.Unmarshal(data, &shape); err != nil {
		return err
	}
	if shape.Set && !shape.Infinite {
		n.value = int64(shape.Number)
	}
	return nil
}

// optional is a number of which it matters whether it is there.
type optional struct {
	number
	set bool
}

func (o *optional) UnmarshalJSON(data []byte) error {
	var shape struct {
		Set bool `json:"set"`
	}
	o.set = string(data) != "null"
	if o.set && data[0] == '{' {
		if err := json.Unmarshal(data, &shape); err != nil {
			return err
		}
		o.set = shape.Set
	}
	return o.number.UnmarshalJSON(data)
}

// words is a string, or a list of strings.
type words []string

func (w *words) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*w = nil
		return nil
	}
	if data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(w))
	}
	var one string
	err := json.Unmarshal(data, &one)
	*w = words{one}
	return err
}

// exitShape is a wait status, or an object that was made of one.
type exitShape struct{ exitStatus }

func (e *exitShape) UnmarshalJSON(data []byte) error {
	var shape struct {
		Set    *bool  `json:"set"`
		Code   number `json:"return_code"`
		Signal *struct {
			ID       number `json:"id"`
			SignalID number `json:"signal_id"` // v0.0.38, v0.0.39
		} `json:"signal"`
	}
	if len(data) > 0 && data[0] == '{' {
		if err := json.Unmarshal(data, &shape); err != nil {
			return err
		}
	}
	if data[0] != '{' || shape.Set != nil {
		var raw number
		err := raw.UnmarshalJSON(data)
		e.exitStatus = waitStatus(raw.value)
		return err
	}
	e.exitStatus = exitStatus{code: int(shape.Code.value)}
	if shape.Signal != nil {
		e.signal = int(max(shape.Signal.ID.value, shape.Signal.SignalID.value))
	}
	return nil
}

// restJob is what is used of a job in slurmctld's memory.
type restJob struct {
	JobID       number    `json:"job_id"`
	ArrayJobID  number    `json:"array_job_id"`
	ArrayTaskID optional  `json:"array_task_id"`
	ArrayTasks  string    `json:"array_task_string"`
	Name        string    `json:"name"`
	User        string    `json:"user_name"`
	State       words     `json:"job_state"`
	Exit        exitShape `json:"exit_code"`
	Restarts    number    `json:"restart_cnt"`
	Reason      string    `json:"state_reason"`
	Nodes       string    `json:"nodes"`
	Start       number    `json:"start_time"`
	End         number    `json:"end_time"`
}

func (r restJob) job() job {
	j := job{
		id: r.JobID.value, name: r.Name, user: r.User, state: flagged(r.State), exit: r.Exit.exitStatus,
		restarts: int(r.Restarts.value), reason: r.Reason, nodes: r.Nodes, start: moment(r.Start), end: moment(r.End),
	}
	if r.ArrayJobID.value != 0 {
		j.id = r.ArrayJobID.value
		if j.index = r.ArrayTasks; j.index == "" && r.ArrayTaskID.set {
			j.index = strconv.FormatInt(r.ArrayTaskID.value, 10)
		}
	}
	return j
}

func moment(n number) time.Time {
	if n.value <= 0 {
		return time.Time{}
	}
	return time.Unix(n.value, 0)
}

// accountJob is what is used of a job in slurmdbd's accounts.
type accountJob struct {
	JobID number `json:"job_id"`
	Name  string `json:"name"`
	User  string `json:"user"`
	Nodes string `json:"nodes"`
	State struct {
		Current words  `json:"current"`
		Reason  string `json:"reason"`
	} `json:"state"`
	Exit     exitShape `json:"exit_code"`
	Restarts number    `json:"restart_cnt"`
	Array    struct {
		JobID  number   `json:"job_id"`
		TaskID optional `json:"task_id"`
		Task   string   `json:"task"`
	} `json:"array"`
	Time struct {
		Start number `json:"start"`
		End   number `json:"end"`
	} `json:"time"`
}

func (a accountJob) job() job {
	j := job{
		id: a.JobID.value, name: a.Name, user: a.User, state: flagged(a.State.Current), exit: a.Exit.exitStatus,
		restarts: int(a.Restarts.value), reason: a.State.Reason, nodes: a.Nodes, start: moment(a.Time.Start), end: moment(a.Time.End),
	}
	if a.Array.JobID.value != 0 {
		j.id = a.Array.JobID.value
		if j.index = a.Array.Task; j.index == "" && a.Array.TaskID.set {
			j.index = strconv.FormatInt(a.Array.TaskID.value, 10)
		}
	}
	return j
}

// restError is an error in a reply.
type restError struct {
	Number      int64  `json:"error_number"`
	Code        int64  `json:"error_code"` // v0.0.38, at times
	Text        string `json:"error"`
	Description string `json:"description"`
}

func (e restError) number() int64 { return max(e.Number, e.Code) }

func (e restError) text() string {
	if e.Text == "" {
		return e.Description
	}
	return e.Text
}

// kind goes by the number (slurm_errno.h).
func (e restError) kind() kind {
	const (
		versionError, authentication = 1005, 1007
		accessDenied, userIDMissing  = 2002, 2010
		standby                      = 2027
		policy                       = 2050 // of accounts and qualities of service: how many jobs, or how large ones
		authFirst, authLast          = 6000, 6099
	)
	n := e.number()
	switch {
	case n == authentication || n == accessDenied || n == userIDMissing || n == versionError || (n >= authFirst && n <= authLast):
		return denied
	case n > 0 && n < 2000, n == standby, n >= 5000 && n < 6000, n >= 7000 && n < 7100:
		return unreachable // of the system, of communication, of slurmdbd
	case n == policy:
		return notNow
	}
	if f, ok := errors.AsType[*failure](told("sbatch", e.text(), fmt.Errorf("error %d", n))); n == 0 && ok {
		return f.kind
	}
	return refused
}
