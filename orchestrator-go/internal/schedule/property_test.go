package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dspyagent.io/orchestrator/internal/queue"
)

// anything is a world to which anything may happen, and what must hold in it whatever does.
type anything struct {
	*world
	metas     map[string]queue.Meta    // of all tasks that were ever added
	closed    map[string]bool          // scopes that were asked to close
	cancelled map[string]bool          // tasks that were asked to end
	ended     []string                 // tasks, in order
	late      map[string]bool          // tasks that were added after their parents' ends
	tries     map[string]int           // attempts that were not broken off by a drain
	before    map[string]int           // children that ended as dead letters and were put back
	ran       map[string]time.Duration // tasks and all below them
	unread    []string                 // entries that were appended again
	gone      map[string]bool          // entries that were settled before this leader
}

func newAnything(t *rapid.T) *anything {
	a := &anything{world: newWorldOf(t), metas: map[string]queue.Meta{}, closed: map[string]bool{}, cancelled: map[string]bool{}, late: map[string]bool{}, tries: map[string]int{}, before: map[string]int{}, ran: map[string]time.Duration{}, gone: map[string]bool{}}
	a.world.onEnd = a.check
	return a
}

// check looks at an end when it is recorded.
func (a *anything) check(id string, out queue.Outcome) {
	meta, children, late := a.metas[id], queue.Children{Failed: a.before[id]}, queue.Children{}
	for child, m := range a.metas {
		if m.Parent != id {
			continue
		}
		count := &children
		if a.late[child] {
			count = &late
		}
		switch end, ended := a.ends[child]; {
		case !ended && !a.late[child]:
			a.t.Fatalf("%s ended as %s before its child %s", id, out.State, child)
		case end.State == queue.Succeeded:
			count.Succeeded++
		default:
			count.Failed++
		}
	}
	// One that came between the end of a dead letter and its return may be the child of either.
	if got := out.Children; a.owners[id] != "" {
		children.Succeeded += max(0, min(late.Succeeded, got.Succeeded-children.Succeeded))
		children.Failed += max(0, min(late.Failed, got.Failed-children.Failed))
	}
	if out.Children != children {
		a.t.Fatalf("%s ended with the children %+v, and had %+v", id, out.Children, children)
	}
	if at := meta.Deadline; out.State == queue.Succeeded && !at.IsZero() && out.FinishedAt.After(at) {
		a.t.Fatalf("%s succeeded %v after its deadline", id, out.FinishedAt.Sub(at))
	}
	if out.State == queue.Dead && meta.Backend == "" && a.tries[id] < meta.MaxAttempts {
		a.t.Fatalf("%s is dead after %d of %d attempts", id, a.tries[id], meta.MaxAttempts)
	}
	if spent := time.Duration(out.SpentMS) * time.Millisecond; spent > a.ran[id] {
		a.t.Fatalf("%s spent %v, and ran for %v", id, spent, a.ran[id])
	}
	if out.Attempts > max(1, meta.MaxAttempts) {
		a.t.Fatalf("%s ended after %d of %d attempts", id, out.Attempts, meta.MaxAttempts)
	}
	for i := 1; i < len(out.History); i++ {
		if out.History[i].Token <= out.History[i-1].Token {
			a.t.Fatalf("%s: the tokens of its attempts are %+v", id, out.History)
		}
	}
	a.ended = append(a.ended, id)
}

// open are the tasks that have not ended, or of those only the ones that something holds of.
func (a *anything) which(holds func(id string, m queue.Meta) bool) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(a.metas)) {
		if _, ended := a.ends[id]; !ended && holds(id, a.metas[id]) {
			ids = append(ids, id)
		}
	}
	return ids
}

func every(string, queue.Meta) bool { return true }

func sometimes[T any](t *rapid.T, name string, g *rapid.Generator[T]) (value T) {
	if rapid.IntRange(0, 4).Draw(t, name+"?") == 0 {
		value = g.Draw(t, name)
	}
	return value
}

func seconds(from, to int) *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.IntRange(from, to), func(n int) time.Duration { return time.Duration(n) * time.Second })
}

// admit adds a task of any kind.
func (a *anything) admit(t *rapid.T) {
	id := fmt.Sprint("t", len(a.metas))
	m := queue.Meta{
		Class:  rapid.SampledFrom([]queue.Class{queue.Short, queue.Long}).Draw(t, "class"),
		Tenant: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "tenant"), Priority: rapid.IntRange(-1, 1).Draw(t, "priority"),
		MaxAttempts: rapid.IntRange(1, 3).Draw(t, "attempts"), Scope: rapid.IntRange(0, 3).Draw(t, "scope?") == 0,
	}
	if parents := a.which(func(id string, _ queue.Meta) bool { return !a.closed[id] }); len(parents) > 0 {
		m.Parent = sometimes(t, "parent", rapid.SampledFrom(parents))
	}
	if m.Parent == "" && len(a.ended) > 0 { // it ended while the request for its child was on its way
		m.Parent = sometimes(t, "late parent", rapid.SampledFrom(a.ended))
		a.late[id] = m.Parent != ""
	}
	if m.Parent != "" {
		m.Tenant = a.metas[m.Parent].Tenant
	}
	if d := sometimes(t, "deadline", seconds(1, 30)); d > 0 {
		m.Deadline = a.now.Add(d)
	}
	if !m.Scope {
		m.LimitKey = sometimes(t, "key", rapid.SampledFrom([]string{"k", "l"}))
		m.LimitMax = rapid.IntRange(1, 4).Draw(t, "limit")
		if d := sometimes(t, "delay", seconds(1, 30)); d > 0 {
			m.NotBefore = a.now.Add(d)
		}
		m.Backend = sometimes(t, "backend", rapid.Just(queue.SlurmBackend))
	}
	m.BudgetMS = sometimes(t, "budget", seconds(1, 10)).Milliseconds()
	a.metas[id] = m
	a.add(id, func(e *queue.Entry) { e.Meta = m })
}

// pick begins attempts, where each lane has so much room.
func (a *anything) pick(t *rapid.T) {
	a.machine.Tick(a.now)
	a.settle()
	room := map[laneKey]int{}
	begun := map[string]int{}
	maps.Copy(begun, a.running)
	picked := a.machine.Pick(rapid.IntRange(1, 8).Draw(t, "limit"), func(e queue.Entry) bool {
		lane := keyOf(a.machine.tasks[e.Task])
		if _, drawn := room[lane]; !drawn {
			room[lane] = rapid.IntRange(0, 4).Draw(t, "room")
		}
		if room[lane] == 0 {
			return false
		}
		room[lane]--
		a.fair(e, lane, begun)
		if a.cancelled[e.Task] && a.wanted(e) {
			a.t.Fatalf("%s begins although it was cancelled", e.Task)
		}
		begun[e.Task] = 0
		a.withinKey(e, begun)
		return true
	})
	answered := rapid.IntRange(0, 5).Draw(t, "answered") > 0
	for _, e := range picked {
		if !answered {
			a.machine.NotBegun(a.now, e.Task)
			continue
		}
		if a.wanted(e) {
			a.tries[e.Task]++
			if n := a.tries[e.Task]; e.Meta.Backend == "" && n > e.Meta.MaxAttempts {
				a.t.Fatalf("attempt %d of %s begins, of %d", n, e.Task, e.Meta.MaxAttempts)
			}
		}
		a.start(e)
	}
	a.settle()
}

// fair holds that the next attempt is one of a tenant of which the fewest run, and of its tasks the first.
func (a *anything) fair(e queue.Entry, lane laneKey, begun map[string]int) {
	running := map[string]int{}
	for id := range begun {
		if m := a.metas[id]; (laneKey{cmp.Or(m.Backend, queue.RunnerBackend), m.Class}) == lane {
			running[m.Tenant]++
		}
	}
	for _, owner := range a.machine.lanes.byKey[lane].waiting {
		if running[owner.name] < running[e.Meta.Tenant] {
			a.t.Fatalf("%s began for %s, of whom %d run, while %s waits, of whom %d do", e.Task, e.Meta.Tenant, running[e.Meta.Tenant], owner.name, running[owner.name])
		}
		if owner.name != e.Meta.Tenant {
			continue
		}
		for _, other := range owner.ready {
			if other.entry.Meta.Priority > e.Meta.Priority {
				a.t.Fatalf("%s began before %s, of a higher priority", e.Task, other.entry.Task)
			}
		}
	}
}

// withinKey holds that no more run than the task that begins allows.
func (a *anything) withinKey(e queue.Entry, begun map[string]int) {
	n := 0
	for id := range begun {
		if m := a.metas[id]; m.LimitKey == e.Meta.LimitKey && m.Tenant == e.Meta.Tenant {
			n++
		}
	}
	if e.Meta.LimitKey != "" && n > e.Meta.LimitMax {
		a.t.Fatalf("%s makes %d that run with the key %s, of %d", e.Task, n, e.Meta.LimitKey, e.Meta.LimitMax)
	}
}

// counts holds that the machine's counters are what runs.
func (a *anything) counts() {
	lanes, keys := map[laneKey]int{}, map[string]int{}
	for id := range a.running {
		m := a.metas[id]
		lanes[laneKey{cmp.Or(m.Backend, queue.RunnerBackend), m.Class}]++
		if m.LimitKey != "" {
			keys[m.Tenant+"\x00"+m.LimitKey]++
		}
	}
	for name, lane := range a.machine.lanes.byKey {
		if lane.running != lanes[name] {
			a.t.Fatalf("the lane %v counts %d, and %d run", name, lane.running, lanes[name])
		}
	}
	for name, n := range keys {
		if key := a.machine.keys[name]; key == nil || key.running != n {
			a.t.Fatalf("the key %q counts %+v, and %d run", name, key, n)
		}
	}
	a.nobodyForgotten()
	for _, id := range a.which(every) {
		if a.machine.tasks[id] == nil {
			a.t.Fatalf("the machine does not hold %s, which has not ended", id)
		}
	}
	for id, t := range a.machine.tasks {
		if _, ended := a.ends[id]; ended && t.known {
			a.t.Fatalf("the machine holds %s, which has ended", id)
		}
	}
}

// nobodyForgotten holds that who is parked has to wait: for those that run with the key, or are about to in its lane.
func (a *anything) nobodyForgotten() {
	begun, next := map[string]int{}, map[string]map[laneKey]int{}
	for _, t := range a.machine.tasks {
		name := t.entry.Meta.Tenant + "\x00" + t.entry.Meta.LimitKey
		if next[name] == nil {
			next[name] = map[laneKey]int{}
		}
		switch t.phase {
		case ready:
			next[name][keyOf(t)]++
		case beginning, running:
			begun[name]++
		}
	}
	for id, t := range a.machine.tasks {
		name := t.entry.Meta.Tenant + "\x00" + t.entry.Meta.LimitKey
		if n := begun[name] + next[name][keyOf(t)]; t.phase == parked && n < t.limit() {
			a.t.Fatalf("%s is parked, though it may be one of %d, and there are %d", id, t.limit(), n)
		}
	}
}

var verdicts = []Verdict{
	{}, {}, {}, broken, broken, {Result: &queue.Result{Reason: "Completed"}}, {Result: &queue.Result{Reason: "NonZeroExit"}},
	{Fault: &queue.Fault{Code: "CannotStart"}, Rejected: true},
}

// some does something to one of the ids, if there are any.
func some(t *rapid.T, ids []string, what func(string)) {
	if len(ids) > 0 {
		what(rapid.SampledFrom(ids).Draw(t, "task"))
	}
}

// steps are all that may happen.
func (a *anything) steps() map[string]func(*rapid.T) {
	end := func(t *rapid.T) {
		some(t, slices.Sorted(maps.Keys(a.running)), func(id string) { a.end(id, rapid.SampledFrom(verdicts).Draw(t, "verdict")) })
	}
	return map[string]func(*rapid.T){
		"": func(*rapid.T) {
			if a.dies && a.last <= 0 {
				a.takeover()
			}
			a.counts()
		},
		"die":   func(t *rapid.T) { a.dies, a.led, a.last = true, a.now, rapid.IntRange(0, 3).Draw(t, "transactions") },
		"admit": a.admit, "admit too": a.admit, "pick": a.pick, "pick too": a.pick, "end": end, "end too": end,
		"cancel": func(t *rapid.T) { some(t, a.which(every), func(id string) { a.cancelled[id] = true; a.cancel(id) }) },
		"close": func(t *rapid.T) {
			some(t, a.which(func(_ string, m queue.Meta) bool { return m.Scope }), func(id string) { a.closed[id] = true; a.close(id) })
		},
		"pass":     func(t *rapid.T) { a.goOn(seconds(1, 10).Draw(t, "time")) },
		"long":     func(t *rapid.T) { a.goOn(seconds(60, 100).Draw(t, "time")) },
		"takeover": func(*rapid.T) { a.takeover() },
		"hand over": func(*rapid.T) { // a drain broke attempts off
			if a.dies {
				return // it hands over when all is recorded
			}
			a.read(len(a.unread))
			for _, e := range a.machine.Broken() {
				stored := a.log[e.ID]
				stored.Begun = e.Begun
				a.log[e.ID] = stored
				a.tries[e.Task]--
			}
			a.takeover()
		},
		"move": func(t *rapid.T) {
			for _, c := range a.machine.Move(time.UnixMilli(1<<40), rapid.IntRange(1, 3).Draw(t, "limit")) {
				a.unread = append(a.unread, a.appendAgain(*c.Move))
			}
		},
		"read": func(t *rapid.T) { a.read(rapid.IntRange(1, 3).Draw(t, "entries")) },
		"read again": func(t *rapid.T) {
			some(t, slices.Sorted(maps.Keys(a.ever)), func(id string) {
				if a.ever[id].Op == queue.OpTask && !a.gone[id] {
					a.reread(id)
				}
			})
		},
		"put back": func(t *rapid.T) {
			some(t, slices.DeleteFunc(slices.Clone(a.ended), func(id string) bool { return a.ends[id].State != queue.Dead }), a.putBack)
		},
		"send again": func(t *rapid.T) { // with the same idempotency key
			some(t, a.which(every), func(id string) {
				a.add(id, func(e *queue.Entry) { e.Meta, e.Generation = a.metas[id], "loser" })
			})
		},
	}
}

// putBack puts a dead letter back into the queue, with all its attempts.
func (a *anything) putBack(id string) {
	m := a.metas[id]
	if m.Parent != "" && !a.late[id] {
		a.before[m.Parent]++
	}
	for child, of := range a.metas {
		if of.Parent == id {
			a.late[child] = true
		}
	}
	m.Parent, m.Deadline = "", time.Time{}
	a.metas[id], a.owners[id] = m, fmt.Sprint("put back ", a.entries)
	a.late[id], a.cancelled[id], a.tries[id], a.before[id] = false, false, 0, 0
	delete(a.ends, id)
	a.ended = slices.DeleteFunc(a.ended, func(ended string) bool { return ended == id })
	a.add(id, func(e *queue.Entry) { e.Meta, e.Generation = m, a.owners[id] })
}

// goOn has time pass.
func (a *anything) goOn(d time.Duration) {
	for id, m := range a.metas {
		// What was begun on Slurm goes on whoever leads.
		if _, runs := a.running[id]; !runs && (m.Backend == "" || a.tries[id] == 0) {
			continue
		}
		for at := id; at != ""; at = a.metas[at].Parent {
			a.ran[at] += d
		}
	}
	a.pass(d)
}

// read reads entries that were appended again.
func (a *anything) read(n int) {
	for range min(n, len(a.unread)) {
		id := a.unread[0]
		a.unread = a.unread[1:]
		a.reread(id)
	}
}

// takeover reads all there is.
func (a *anything) takeover() {
	a.unread = nil
	for id := range a.ever {
		if _, left := a.log[id]; !left {
			a.gone[id] = true
		}
	}
	a.world.takeover()
}

// comeToAnEnd lets everything run to its end, and nothing happen any more.
func (a *anything) comeToAnEnd() {
	if a.dies {
		a.takeover()
	}
	for _, id := range a.which(func(id string, m queue.Meta) bool { return m.Scope && !a.closed[id] }) {
		a.close(id)
	}
	for range 1000 {
		if len(a.machine.tasks) == 0 && len(a.unread) == 0 {
			return
		}
		a.begin(10)
		for _, id := range slices.Sorted(maps.Keys(a.running)) {
			a.succeed(id)
		}
		a.goOn(time.Second)
		a.read(len(a.unread))
	}
	a.t.Fatalf("%v never end", a.which(every))
}

func TestWhateverHappensEveryTaskEndsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAnything(t)
		t.Repeat(a.steps())
		a.comeToAnEnd()
		a.empty()
		if len(a.ends) != len(a.metas) {
			t.Fatalf("%d of %d tasks ended", len(a.ends), len(a.metas))
		}
	})
}

// How tasks end does not depend on the order in which they run, nor on who leads.
func TestEndsAreAFunctionOfTheTasks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type plan struct {
			meta   queue.Meta
			faults int
			last   Verdict
		}
		plans := map[string]plan{}
		for i := range rapid.IntRange(1, 12).Draw(t, "tasks") {
			p := plan{
				meta: queue.Meta{
					Class: queue.Short, Tenant: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "tenant"), MaxAttempts: 100,
					LimitKey: sometimes(t, "key", rapid.Just("k")), Priority: rapid.IntRange(-1, 1).Draw(t, "priority"),
				},
				faults: rapid.IntRange(0, 2).Draw(t, "faults"), last: rapid.SampledFrom(verdicts[5:]).Draw(t, "last"),
			}
			if i > 0 {
				p.meta.Parent = sometimes(t, "parent", rapid.Map(rapid.IntRange(0, i-1), func(n int) string { return fmt.Sprint("t", n) }))
			}
			if p.meta.Parent != "" {
				parent := plans[p.meta.Parent]
				parent.last = Verdict{} // one that fails ends its children, when they are depends on the order
				plans[p.meta.Parent] = parent
			}
			plans[fmt.Sprint("t", i)] = p
		}
		run := func(name string) map[string]queue.State {
			w := newWorldOf(t)
			for i := range len(plans) {
				w.add(fmt.Sprint("t", i), func(e *queue.Entry) { e.Meta = plans[e.Task].meta })
			}
			failed := map[string]int{}
			for step := 0; len(w.ends) < len(plans); step++ {
				if step > 2000 {
					t.Fatalf("only %d of %d ended", len(w.ends), len(plans))
				}
				w.begin(rapid.IntRange(1, 3).Draw(t, name))
				if ids := slices.Sorted(maps.Keys(w.running)); len(ids) > 0 {
					id := rapid.SampledFrom(ids).Draw(t, name)
					if failed[id]++; failed[id] <= plans[id].faults {
						w.end(id, broken)
					} else {
						w.end(id, plans[id].last)
					}
				}
				if step < 50 && rapid.IntRange(0, 9).Draw(t, name) == 0 {
					w.takeover()
				}
				w.pass(time.Second)
			}
			w.empty()
			states := map[string]queue.State{}
			for id, out := range w.ends {
				states[id] = out.State
			}
			return states
		}
		if one, other := run("one order"), run("another order"); !maps.Equal(one, other) {
			t.Fatalf("they ended as %v, and as %v", one, other)
		}
	})
}
