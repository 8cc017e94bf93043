// Below the orchestrator's module path, so that it may import the orchestrator's internal packages.
module dspyagent.io/orchestrator/benchmarks/limits

go 1.26.0

require dspyagent.io/orchestrator v0.0.0

require (
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/failsafe-go/failsafe-go v0.9.8 // indirect
	github.com/influxdata/tdigest v0.0.1 // indirect
)

replace dspyagent.io/orchestrator => ../../../orchestrator-go
