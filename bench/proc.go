package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of the times in /proc/PID/stat; it is 100 Hz on every
// Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// server is a child process that listens on addr.
type server struct {
	cmd    *exec.Cmd
	addr   string
	line   string        // in which it said so
	exited chan struct{} // closed when the process has ended
	log    *tail
}

// address finds where a child says that it listens.
var address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// startServer runs a program that prints its address on standard output, with
// environment variables in addition to this program's.
func startServer(ctx context.Context, env []string, name string, args ...string) (*server, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s, err := spawn(w, env, name, args...)
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	found := make(chan string, 1)
	go func() { // ends when the child closes its standard output
		defer r.Close()
		sc := bufio.NewScanner(r)
		for sc.Scan() {
			if address.MatchString(sc.Text()) {
				found <- sc.Text()
				break
			}
		}
		io.Copy(io.Discard, r)
	}()
	select {
	case s.line = <-found:
		s.addr = address.FindString(s.line)
		return s, s.ready(ctx)
	case <-s.exited:
		return nil, fmt.Errorf("%s ended before it listened: %s", name, s.log)
	case <-ctx.Done():
	case <-time.After(time.Minute):
	}
	s.stop()
	return nil, fmt.Errorf("%s did not say where it listens: %s", name, s.log)
}

// spawn starts a process in a group of its own, so that Ctrl-C reaches this
// program alone, which then stops its children. The kernel stops them should this
// program be killed.
func spawn(stdout *os.File, env []string, name string, args ...string) (*server, error) {
	s := &server{cmd: exec.Command(name, args...), exited: make(chan struct{}), log: &tail{}}
	if stdout != nil {
		s.cmd.Stdout = stdout
	}
	s.cmd.Stderr = s.log
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	s.cmd.WaitDelay = time.Second
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

// ready waits until the server accepts a connection, and stops it otherwise.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("server ended: %s", s.log)
		case <-ctx.Done():
			s.stop()
			return errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the process and its children, and waits for them.
func (s *server) stop() {
	children := s.children()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return
	case <-time.After(10 * time.Second):
	}
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.cmd.Process.Kill()
	<-s.exited
}

// children returns the process ids of the direct children, such as nginx's workers.
func (s *server) children() []int {
	pid := s.cmd.Process.Pid
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// cpu returns the processor time, user and system, that the server has used.
func (s *server) cpu() time.Duration {
	total := processCPU(s.cmd.Process.Pid)
	for _, pid := range s.children() {
		total += processCPU(pid)
	}
	return total
}

func processCPU(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseStat(b)
}

// parseStat reads utime and stime of /proc/PID/stat: fields 14 and 15, counted
// after the name, which may hold spaces and parentheses.
func parseStat(stat []byte) time.Duration {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	utime, _ := strconv.ParseInt(string(f[11]), 10, 64)
	stime, _ := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(utime+stime) * clockTick
}

// memory returns the resident bytes of a process: now and at most so far.
func memory(pid int) (now, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	return statusBytes(b, "VmRSS:"), statusBytes(b, "VmHWM:"), nil
}

func statusBytes(status []byte, name string) int64 {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n * kib
		}
	}
	return 0
}

// finished is what a process that ran to its end did.
type finished struct {
	stdout string
	wall   time.Duration
	cpu    time.Duration
	peak   int64 // resident bytes, looked at every 20 ms
}

// runToEnd runs a program.
func runToEnd(ctx context.Context, name string, args ...string) (finished, error) {
	return runWith(ctx, nil, name, args...)
}

// runWith runs a program with variables in addition to this program's. Its peak memory is read from /proc while it runs: the
// rusage of a child also counts what its parent had in memory when it was started.
func runWith(ctx context.Context, env []string, name string, args ...string) (finished, error) {
	var f finished
	var out, errOut tail
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return f, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, peak, err := memory(cmd.Process.Pid); err == nil {
				f.peak = max(f.peak, peak)
			}
		case err := <-done:
			f.wall = time.Since(start)
			f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			f.stdout = strings.TrimSpace(out.String())
			if err != nil {
				return f, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, &errOut)
			}
			return f, nil
		}
	}
}
