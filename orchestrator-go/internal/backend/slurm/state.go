package slurm

import "strings"

// state is a job's state in Slurm's words, without its flags.
type state string

const (
	pending     state = "PENDING"
	running     state = "RUNNING"
	completing  state = "COMPLETING" // ended or requeued, and not yet cleared away: its end is not final
	completed   state = "COMPLETED"
	failed      state = "FAILED"
	cancelled   state = "CANCELLED"
	timedOut    state = "TIMEOUT"
	outOfMemory state = "OUT_OF_MEMORY"
	nodeFail    state = "NODE_FAIL"
	preempted   state = "PREEMPTED"
)

// What a job's end means. A state that is not listed is no end, so that one of a later Slurm is waited out.
var ends = map[state]verdict{
	completed:       itsOwn,
	failed:          itsOwn,
	timedOut:        itsOwn,
	outOfMemory:     itsOwn,
	cancelled:       byPeople,
	"DEADLINE":      byPeople,
	nodeFail:        bySlurm,
	preempted:       bySlurm,
	"BOOT_FAIL":     bySlurm,
	"LAUNCH_FAILED": bySlurm,
	"RECONFIG_FAIL": bySlurm,
	"REVOKED":       bySlurm,
}

type verdict int

const (
	unended  verdict = iota
	itsOwn           // the command's result, whatever it is
	byPeople         // somebody meant it: another attempt would be against their will
	bySlurm          // the infrastructure's fault
)

// launchSignal is what Slurm reports as the signal of a batch script that it could not start.
const launchSignal = 53

func (j job) verdict() verdict {
	if j.state == failed && j.exit.signal == launchSignal {
		return bySlurm
	}
	return ends[j.state]
}

// parseState reads a state as Slurm's commands print it ("CANCELLED by 0").
func parseState(text string) state {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return state(strings.TrimSuffix(word, "+"))
}

// flagged reads a state as the newer REST versions give it: one state and any number of flags.
func flagged(words []string) state {
	var base state
	for _, word := range words {
		switch word {
		case "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "STAGE_OUT":
			return completing
		case "CONFIGURING", "SIGNALING", "RESIZING", "STOPPED", "POWER_UP_NODE", "SPECIAL_EXIT", "RESV_DEL_HOLD", "EXPEDITING":
		default:
			if base == "" {
				base = state(word)
			}
		}
	}
	if base == "" {
		return pending
	}
	return base
}
