// The orchestrator keeps a durable queue of tasks and runs them on env runners.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"dspyagent.io/orchestrator/internal/config"
	"dspyagent.io/orchestrator/internal/httpapi"
)

const usage = `usage: orchestrator serve [flags]   run the service (--help lists the flags)
       orchestrator openapi         print the API's contract
       orchestrator version`

func main() {
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "orchestrator:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no command\n%s", usage)
	}
	switch args[0] {
	case "serve":
		c, err := config.Parse(args[1:], os.Getenv, os.Stderr)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		return serve(ctx, c)
	case "openapi":
		text, err := httpapi.OpenAPI()
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(text)
		return err
	case "version":
		_, err := fmt.Println(httpapi.Version)
		return err
	}
	return fmt.Errorf("unknown command %q\n%s", args[0], usage)
}
