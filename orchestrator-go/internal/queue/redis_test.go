package queue_test

import (
	"testing"

	"go.uber.org/goleak"

	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnRedis(t *testing.T) { queuetest.Run(t, queuetest.StartRedis(t)) }
func TestOnRedDB(t *testing.T) { queuetest.Run(t, queuetest.StartRedDB(t)) }
