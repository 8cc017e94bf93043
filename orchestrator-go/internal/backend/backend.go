// Package backend names what any place that runs tasks can answer besides a result.
// The interface itself belongs to its consumer, package dispatch.
package backend

import "fmt"

// Rejected is an answer that no other attempt would change: the request itself cannot be
// carried out, such as a program that does not exist. Message is safe to show to clients.
// Every other error of a backend is a fault of the infrastructure, worth another attempt.
type Rejected struct {
	Code    string
	Message string
}

func (r *Rejected) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Message) }

// Fault is a fault of the infrastructure with a code and a message that are safe to show;
// Cause, which is not, is for the log.
type Fault struct {
	Code    string
	Message string
	Cause   error
}

func (f *Fault) Error() string { return fmt.Sprintf("%s: %v", f.Code, f.Cause) }
func (f *Fault) Unwrap() error { return f.Cause }
