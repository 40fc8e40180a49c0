package cli_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	carv2 "github.com/ipld/go-car/v2"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hashstream/hashstream/internal/cli"
	"github.com/hashstream/hashstream/internal/control"
)

func TestMain(m *testing.M) {
	testscript.Main(cleaning{m}, map[string]func(){"hashstream": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		context.AfterFunc(ctx, stop)
		os.Exit(cli.Run(ctx, os.Args[1:], cli.System()))
	}})
}

// cleaning removes the binary that tests built.
type cleaning struct{ *testing.M }

func (c cleaning) Run() int {
	defer os.Remove(binaryName())
	return c.M.Run()
}

// Every script has a home of its own at $HOME_DIR, and the files hello and big.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			home := filepath.Join(e.WorkDir, ".home")
			big := make([]byte, 9_000_000)
			rand.NewChaCha8([32]byte{}).Read(big)
			if err := errors.Join(
				os.WriteFile(filepath.Join(e.WorkDir, "hello"), []byte("hello world"), 0o600),
				os.WriteFile(filepath.Join(e.WorkDir, "big"), big, 0o600),
			); err != nil {
				return err
			}
			e.Vars = append(e.Vars, "HASHSTREAM_HOME="+home, "HOME_DIR="+home, "HASHSTREAM_LOG_FORMAT=text", "GORACE="+os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "keep": keep, "node": awaitNode, "http": httpGet, "goCar": goCar, "flip": flip,
			"weak": weak, "await": await,
		},
	})
}

// code N ARG... runs hashstream and wants the exit code N.
func code(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	wantExit(ts, want, ts.Exec("hashstream", args[1:]...))
}

func wantExit(ts *testscript.TestScript, want int, err error) {
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// weak N ARG... is code for a process that cannot read what the modes of files forbid: root's
// can, unless it is told not to.
func weak(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	command := append([]string{"hashstream"}, args[1:]...)
	if os.Geteuid() == 0 {
		command = append([]string{"setpriv", "--bounding-set=-dac_override,-dac_read_search"}, command...)
	}
	wantExit(ts, want, ts.Exec(command[0], command[1:]...))
}

// await STATUS URL waits until a response has a status. Content that changes while it is
// sent ends a response early: that is no answer yet.
func await(ts *testscript.TestScript, _ bool, args []string) {
	status := ""
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		res, err := http.Get(args[1])
		if err != nil {
			status = err.Error()
			continue
		}
		res.Body.Close()
		if status = strconv.Itoa(res.StatusCode); status == args[0] {
			return
		}
	}
	ts.Fatalf("status %s, want %s", status, args[0])
}

// keep VAR puts the first word that was printed into a variable.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	words := strings.Fields(ts.ReadFile("stdout"))
	if len(words) == 0 {
		ts.Fatalf("nothing was printed")
	}
	ts.Setenv(args[0], words[0])
}

// node waits for the node of the home, and puts its addresses into $GATEWAY and $ADMIN.
// ! node waits until it is gone.
func awaitNode(ts *testscript.TestScript, neg bool, _ []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		c, err := control.Dial(ctx, ts.Getenv("HOME_DIR"))
		if err != nil {
			if neg {
				return
			}
			continue
		}
		s, err := c.Status(ctx)
		c.Close()
		if err == nil && !neg {
			ts.Setenv("GATEWAY", s.Addresses["gateway"])
			ts.Setenv("ADMIN", s.Addresses["admin"])
			return
		}
	}
	ts.Fatalf("the node did not come or go")
}

// http STATUS URL FILE saves a response.
func httpGet(ts *testscript.TestScript, _ bool, args []string) {
	res, err := http.Get(args[1])
	ts.Check(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	ts.Check(err)
	if strconv.Itoa(res.StatusCode) != args[0] {
		ts.Fatalf("status %s: %s", res.Status, data)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o600))
}

// goCar FILE ROOT BLOCKS reads a CAR with go-car, which verifies every block.
func goCar(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	r, err := carv2.NewBlockReader(f)
	ts.Check(err)
	if len(r.Roots) != 1 || r.Roots[0].String() != args[1] {
		ts.Fatalf("roots %v, want %s", r.Roots, args[1])
	}
	n := 0
	for ; ; n++ {
		if _, err = r.Next(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.EOF) || strconv.Itoa(n) != args[2] {
		ts.Fatalf("%d blocks, then %v", n, err)
	}
}

// flip FILE changes the last byte of a file.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	data := []byte(ts.ReadFile(name))
	data[len(data)-1] ^= 1
	ts.Check(os.Chmod(name, 0o600))
	ts.Check(os.WriteFile(name, data, 0o600))
}
