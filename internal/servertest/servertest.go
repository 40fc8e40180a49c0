// Package servertest finds and starts the real servers that tests need.
//
// scripts/with-servers.sh, which make test uses, starts one of each and sets their
// addresses; a test that must stop or kill a server starts its own with [Start].
package servertest

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// URL returns the address of the shared server of a kind: "postgres", "nats", "s3".
// Without one the test is skipped; make test always has one.
func URL(t testing.TB, name string) string {
	t.Helper()
	u := os.Getenv("TEST_" + strings.ToUpper(name))
	if u == "" {
		t.Skipf("no %s server: run this by scripts/with-servers.sh go test", name)
	}
	return u
}

// Server is a server of one test's own.
type Server struct {
	URL string // its address, the same after a restart

	t    testing.TB
	name string
	dir  string
	port string
	cmd  *exec.Cmd
}

// Start starts a server with an empty state, which ends with the test.
func Start(t testing.TB, name string) *Server {
	t.Helper()
	URL(t, name) // where there is no shared server, nothing is installed either
	dir, err := os.MkdirTemp("", "hashstream-"+name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // a server may drop root
		t.Fatal(err)
	}
	s := &Server{t: t, name: name, dir: dir}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	s.Run()
	return s
}

// Run starts the server again after [Server.Stop] or [Server.Kill], with its state and
// on its port.
func (s *Server) Run() {
	s.t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	args := []string{s.dir}
	if s.port != "" {
		args = append(args, s.port)
	}
	s.cmd = exec.Command(filepath.Join(filepath.Dir(string(mod)), "scripts/servers", s.name), args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log strings.Builder
	s.cmd.Stderr = &log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { s.signal(syscall.SIGKILL) })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		s.cmd.Wait()
		s.t.Fatalf("%s did not start: %v\n%s", s.name, err, log.String())
	}
	s.URL = strings.TrimSpace(line)
	if s.port, err = port(s.URL); err != nil {
		s.t.Fatal(err)
	}
}

func port(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return "", err
	}
	_, p, err := net.SplitHostPort(u.Host)
	if err != nil {
		return "", fmt.Errorf("address %s: %w", addr, err)
	}
	return p, nil
}

// Stop ends the server in order.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server without a chance to tidy up.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	s.signal(sig)
	late := time.AfterFunc(20*time.Second, func() { s.signal(syscall.SIGKILL) })
	s.cmd.Wait()
	late.Stop()
	s.signal(syscall.SIGKILL) // what is left of its group
	s.cmd = nil
}

// signal tells the whole group: a script passes nothing on when it is killed.
func (s *Server) signal(sig syscall.Signal) { syscall.Kill(-s.cmd.Process.Pid, sig) }
