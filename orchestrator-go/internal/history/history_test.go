package history

import (
	"strings"
	"testing"
)

func TestWhatIsWrongIsSaid(t *testing.T) {
	accepted, begun := Event{Kind: Accepted, Task: "t"}, Event{Kind: Begun, Task: "t", Token: 5}
	ended := Event{Kind: Recorded, Task: "t", Token: 5, State: "Succeeded"}
	for name, c := range map[string]struct {
		events []Event
		want   string
	}{
		"fine":            {[]Event{accepted, begun, {Kind: Read, Task: "t"}, ended, {Kind: Read, Task: "t", State: "Succeeded"}}, ""},
		"before its 202":  {[]Event{begun, ended, accepted}, ""},
		"a cancellation":  {[]Event{accepted, begun, {Kind: Recorded, Task: "t", State: "Cancelled"}}, ""},
		"lost":            {[]Event{accepted, begun}, "has not ended"},
		"twice":           {[]Event{accepted, begun, ended, ended}, "and again as Succeeded"},
		"out of nowhere":  {[]Event{accepted, ended}, "no attempt had"},
		"of a stale one":  {[]Event{accepted, begun, {Kind: Begun, Task: "t", Token: 9}, ended}, "after an attempt with 9"},
		"one token twice": {[]Event{accepted, begun, begun, ended}, "two attempts"},
		"read back": {[]Event{accepted, begun, ended, {Kind: Read, Task: "t", State: "Succeeded"}, {Kind: Read, Task: "t"}},
			`read as Succeeded, and later as ""`},
		"read early": {[]Event{accepted, begun, {Kind: Read, Task: "t", State: "Failed"}, ended}, "was read as Failed and ended"},
	} {
		var h History
		for _, e := range c.events {
			h.Add(e)
		}
		err := h.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestCounts(t *testing.T) {
	var h History
	for _, e := range []Event{
		{Kind: Accepted, Task: "a"}, {Kind: Begun, Task: "a", Token: 9}, {Kind: Begun, Task: "a", Token: 5},
		{Kind: Accepted, Task: "b"}, {Kind: Recorded, Task: "b", State: "Cancelled"},
	} {
		h.Add(e)
	}
	if got, want := h.Counts(), (Counts{Accepted: 2, Ended: 1, Begun: 2, Repeated: 1, Stale: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
