package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashstream/hashstream/kv/memkv"
)

func TestSocketMode(t *testing.T) {
	old := syscall.Umask(0) // the most permissive
	defer syscall.Umask(old)
	home := filepath.Join(t.TempDir(), "new")
	serve(t, home, NewServer(memkv.New(), nil))
	for name, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, socketName: fs.ModeSocket | 0o600, lockName: 0o600} {
		info, err := os.Stat(filepath.Join(home, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%q has mode %v, want %v (%v)", name, info.Mode(), want, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(home, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestNoNode(t *testing.T) {
	home := t.TempDir()
	if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNoNode) {
		t.Errorf("empty home: %v", err)
	}
	if _, err := Dial(t.Context(), filepath.Join(home, "absent")); !errors.Is(err, ErrNoNode) {
		t.Errorf("absent home: %v", err)
	}
}

// TestSecondNode: one node at a time, and the next may start when it has ended.
func TestSecondNode(t *testing.T) {
	home := t.TempDir()
	stop := serve(t, home, NewServer(memkv.New(), nil))
	_, err := Listen(home)
	if want := fmt.Sprintf("process %d", os.Getpid()); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), want) {
		t.Errorf("second node: %v, want it to name %s", err, want)
	}
	dial(t, home) // the first was not disturbed
	stop()
	if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNoNode) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(home, socketName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	serve(t, home, NewServer(memkv.New(), nil))
	dial(t, home)
}

// TestStaleSocket takes over what a killed node leaves: socket, lock file and the
// private directory.
func TestStaleSocket(t *testing.T) {
	home := t.TempDir()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(home, socketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	if err := errors.Join(os.WriteFile(filepath.Join(home, lockName), []byte("999999999\n"), 0o600),
		os.MkdirAll(filepath.Join(home, ".control", "s"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), home); !errors.Is(err, ErrNoNode) {
		t.Errorf("stale socket: %v", err)
	}
	serve(t, home, NewServer(memkv.New(), nil))
	dial(t, home)
}

func TestNotASocket(t *testing.T) {
	home := t.TempDir()
	name := filepath.Join(home, socketName)
	if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(home); !errors.Is(err, fs.ErrExist) {
		t.Errorf("listen over a file: %v", err)
	}
	if data, err := os.ReadFile(name); string(data) != "precious" {
		t.Errorf("the file was touched: %q, %v", data, err)
	}
	if l, err := Listen(home); l != nil || errors.Is(err, ErrRunning) {
		t.Errorf("the lock was kept: %v", err)
	}
}

// TestLongPath: a home deeper than a socket address can say.
func TestLongPath(t *testing.T) {
	home := filepath.Join(t.TempDir(), strings.Repeat("deep/", 60))
	serve(t, home, NewServer(memkv.New(), nil))
	if _, err := dial(t, home).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReadPID(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pid")
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		fmt.Sprintln(os.Getpid()): os.Getpid(), fmt.Sprintln(gone.Process.Pid): 0,
		"": 0, "-1": 0, "0": 0, "x": 0, strings.Repeat("1", 100): 0,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		pid, ok := ReadPID(name)
		if ok != (want != 0) || ok && pid != want {
			t.Errorf("%q names %d, %t, want %d", text, pid, ok, want)
		}
	}
}

func TestAllowed(t *testing.T) {
	for uid, want := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, 12345: false} {
		if allowed(uid) != want {
			t.Errorf("uid %d: %t", uid, !want)
		}
	}
}
