package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	runnerCommand = "runner"
	secret        = "token-of-the-soak-0123456789abcdef"
	// sightBytes is the size of one attempt in a runner's file: the task's id, the token, when, and whether it failed.
	sightBytes = 16 + 8 + 8 + 1
)

// sight is an attempt that a runner saw.
type sight struct {
	task   [16]byte
	token  int64
	at     time.Time
	failed bool
}

func (s sight) encode() []byte {
	out := append(make([]byte, 0, sightBytes), s.task[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(s.token))
	out = binary.BigEndian.AppendUint64(out, uint64(s.at.UnixNano()))
	if s.failed {
		return append(out, 1)
	}
	return append(out, 0)
}

func decodeSight(b []byte) sight {
	s := sight{token: int64(binary.BigEndian.Uint64(b[16:])), at: time.Unix(0, int64(binary.BigEndian.Uint64(b[24:]))), failed: b[32] == 1}
	copy(s.task[:], b)
	return s
}

// sights reads a runner's file; what a kill cut short at its end is left out.
func sights(path string, each func(sight)) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for ; len(data) >= sightBytes; data = data[sightBytes:] {
		each(decodeSight(data))
	}
	return nil
}

func parseID(text string) (id [16]byte, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err == nil && len(raw) != len(id) {
		err = fmt.Errorf("%q is no task's id", text)
	}
	copy(id[:], raw)
	return id, err
}

// fakeRunner is a fake env runner that runs nothing, and writes down every attempt before it answers.
type fakeRunner struct {
	file   *os.File
	faults uint64
}

// serveRunner is the process of a fake runner.
func serveRunner(args []string) error {
	flags := flag.NewFlagSet(runnerCommand, flag.ContinueOnError)
	listen, path := flags.String("listen", "", ""), flags.String("file", "", "")
	faults := flags.Uint64("faults", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	file, err := os.OpenFile(*path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// A kill may have cut a sight short.
	if info, err := file.Stat(); err != nil {
		return err
	} else if err := file.Truncate(info.Size() - info.Size()%sightBytes); err != nil {
		return err
	}
	r := &fakeRunner{file: file, faults: *faults}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, _ *http.Request) {
		r.reply(w, http.StatusOK, `{"max_concurrent":256,"running":0,"waiting":0,"pressure":0}`)
	})
	mux.HandleFunc("POST /v1/noop", r.noop)
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return errors.Join(server.ListenAndServe(), file.Close())
}

func (r *fakeRunner) noop(w http.ResponseWriter, req *http.Request) {
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return // the sender has gone
	}
	id, err := parseID(req.Header.Get("X-Request-Id"))
	token, err2 := strconv.ParseInt(req.Header.Get("X-Fencing-Token"), 10, 64)
	if err := errors.Join(err, err2); err != nil {
		r.reply(w, http.StatusBadRequest, `{"error":{"code":"BadRequest","message":"no id or token"}}`)
		return
	}
	s := sight{task: id, token: token, at: time.Now()}
	h := fnv.New64a()
	h.Write(s.encode()[:24]) // never fails
	s.failed = h.Sum64()%1000 < r.faults
	if _, err := r.file.Write(s.encode()); err != nil {
		r.reply(w, http.StatusInternalServerError, `{"error":{"code":"Disk","message":"the soak's disk is full"}}`)
		return
	}
	if s.failed {
		r.reply(w, http.StatusInternalServerError, `{"error":{"code":"Asked","message":"as the soak asks"}}`)
		return
	}
	r.reply(w, http.StatusOK, `{}`)
}

func (r *fakeRunner) reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // whoever has gone meanwhile is told nothing
}
