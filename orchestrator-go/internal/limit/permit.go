package limit

import "time"

// vegasPermit is a slot of Vegas.
type vegasPermit struct {
	limiter *Vegas
	begun   time.Time
	ended   bool // guarded by the limiter's lock
}

func (p *vegasPermit) Done(latency time.Duration) { p.end(answered, latency) }
func (p *vegasPermit) Dropped()                   { p.end(dropped, 0) }
func (p *vegasPermit) Ignore()                    { p.end(ignored, 0) }

// ending is how an attempt ended.
type ending int

const (
	answered ending = iota
	dropped
	ignored
)

func (p *vegasPermit) end(how ending, latency time.Duration) {
	if grew := p.release(how, latency); grew && p.limiter.opt.OnGrow != nil {
		p.limiter.opt.OnGrow()
	}
}

func (p *vegasPermit) release(how ending, latency time.Duration) (grew bool) {
	v := p.limiter
	v.mu.Lock()
	defer v.mu.Unlock()
	if p.ended {
		return false
	}
	p.ended = true
	before, now := int(v.limit), time.Now()
	v.pass(now)
	v.inFlight--
	if v.settling {
		v.settle(now)
		return false
	}
	switch how {
	case answered:
		v.window.add(max(latency, 0), now.Sub(p.begun))
	case dropped:
		v.window.drops++
	}
	v.look(now)
	return int(v.limit) > before
}
