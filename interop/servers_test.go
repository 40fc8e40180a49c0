package interop

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// postgres starts a PostgreSQL of the test's own and returns its URL.
func postgres(t *testing.T) string {
	t.Helper()
	const script = "../scripts/servers/postgres"
	if out, err := exec.Command(script, "install").CombinedOutput(); err != nil {
		t.Fatalf("install: %v: %s", err, tail(string(out), 1<<10))
	}
	dir, err := os.MkdirTemp("", "interop-postgres")
	must(t, err)
	must(t, os.Chmod(dir, 0o755)) // the server drops root
	cmd := exec.Command(script, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		defer late.Stop()
		cmd.Wait()
		os.RemoveAll(dir)
	})
	late := time.AfterFunc(time.Minute, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(line)
}
