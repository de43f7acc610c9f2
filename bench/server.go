package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// A server is this binary in another role, as a second process. It prints its address as the first line and ends when its standard
// input ends, so it goes away with the benchmark however that ends.
type server struct {
	address  string
	command  *exec.Cmd
	lifeline io.Closer
}

func startServer(ctx context.Context, role string, args ...string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start %s: find this binary: %w", role, err)
	}
	s := &server{command: command(ctx, self, append([]string{role}, args...)...)}
	s.command.Stderr = os.Stderr
	if s.lifeline, err = s.command.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("start %s: it ended before it gave its address: %w", role, err)
	}
	s.address = strings.TrimSpace(line)
	return s, nil
}

// stop ends the server and waits for it.
func (s *server) stop() {
	s.lifeline.Close()
	_ = s.command.Wait() // it was told to end; how is of no interest
}

// untilStdinEnds blocks a server process until its lifeline is cut.
func untilStdinEnds() { _, _ = io.Copy(io.Discard, os.Stdin) }
