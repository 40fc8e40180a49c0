package cli_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary builds the command as users have it: without the race detector, which would
// make most of these tests a test of itself.
var binary = sync.OnceValues(func() (string, error) {
	name := binaryName()
	out, err := exec.Command("go", "build", "-o", name, "github.com/hashstream/hashstream/cmd/hashstream").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return name, nil
})

func binaryName() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("hashstream-test-%d", os.Getpid()))
}

// machine runs real processes in a home.
type machine struct {
	t    *testing.T
	bin  string
	home string
}

func newMachine(t *testing.T) *machine {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return &machine{t, bin, filepath.Join(t.TempDir(), "home")}
}

func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, m.bin, append([]string{"--home", m.home}, args...)...)
	c.WaitDelay = 10 * time.Second
	return c
}

// result is what a process said and how it ended.
type result struct {
	out, err string
	code     int
}

func (m *machine) try(args ...string) result {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	var out, stderr bytes.Buffer
	c := m.command(ctx, args...)
	c.Stdout, c.Stderr = &out, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("%v: %v", args, err)
	}
	return result{out.String(), stderr.String(), c.ProcessState.ExitCode()}
}

func (m *machine) run(args ...string) string {
	m.t.Helper()
	r := m.try(args...)
	if r.code != 0 {
		m.t.Fatalf("%v: exit code %d: %s%s", args, r.code, r.out, r.err)
	}
	return r.out
}

// whole checks that root is stored, byte for byte what is at path.
func (m *machine) whole(root, path string) {
	m.t.Helper()
	out := filepath.Join(m.t.TempDir(), "out")
	m.run("dump", "-q", "-f", "file", root, out)
	sameTree(m.t, path, out)
	if err := os.RemoveAll(out); err != nil {
		m.t.Fatal(err)
	}
}

func sameTree(t *testing.T, want, got string) {
	t.Helper()
	var n int
	err := filepath.WalkDir(want, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		n++
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		a, aErr := os.ReadFile(path)
		b, bErr := os.ReadFile(filepath.Join(got, rel))
		if err := errors.Join(aErr, bErr); err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%s: %d bytes differ from %d", rel, len(b), len(a))
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files, %v", n, err)
	}
}

// makeTree writes about size bytes that no other tree has.
func makeTree(t *testing.T, dir string, size int, random *rand.Rand) string {
	t.Helper()
	for i := 0; size > 0; i++ {
		n := min(size, 1+random.IntN(400<<10))
		if i%3 == 0 {
			n = min(n, 1000)
		}
		size -= n
		data := make([]byte, n)
		for at := 0; at < n; at += 8 {
			copy(data[at:], fmt.Appendf(nil, "%08x", random.Uint32()))
		}
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%5), fmt.Sprintf("f%d", i))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// killed runs an add and kills it after a while. It returns the roots that were
// printed until then, in the order of the paths.
func (m *machine) killed(after time.Duration, paths ...string) []string {
	m.t.Helper()
	c := m.command(m.t.Context(), append([]string{"add", "-q", "--pack-size", "4MiB"}, paths...)...)
	out, err := c.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { c.Process.Kill() })
	defer timer.Stop()
	var roots []string
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		roots = append(roots, strings.TrimSpace(line))
	}
	c.Wait()
	return roots
}

// sound checks what must hold after any fault.
func (m *machine) sound() {
	m.t.Helper()
	if r := m.try("pack", "verify", "--all", "-q"); r.code != 0 {
		m.t.Fatalf("verify: exit code %d: %s%s", r.code, r.out, r.err)
	}
}

// Whatever was printed before a kill -9 is there after it, and nothing is half there.
func TestKill(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const rounds, perHome, trees = 50, 10, 3
	var m *machine
	var dirs []string // all that was ever printed in this home, and the root of each
	var roots []string
	var took time.Duration
	for i := range rounds {
		var paths []string
		for j := range trees {
			paths = append(paths, makeTree(t, filepath.Join(t.TempDir(), fmt.Sprintf("%d-%d", i, j)), 1<<20, random))
		}
		if i%perHome == 0 {
			m = newMachine(t) // to see how long it takes if it is not killed
			start := time.Now()
			m.killed(time.Minute, paths...)
			took = time.Since(start)
			m, dirs, roots = newMachine(t), nil, nil
		}
		printed := m.killed(time.Duration(random.Int64N(int64(took))), paths...)
		m.sound()
		for j, root := range printed {
			m.whole(root, paths[j])
		}
		roots, dirs = append(roots, printed...), append(dirs, paths[:len(printed)]...)
		if i%perHome == perHome-1 {
			for j, root := range roots {
				m.whole(root, dirs[j])
			}
			t.Logf("%d kills: %d roots of %d were printed", i+1, len(roots), perHome*trees)
			// The same add again brings the rest.
			rest := strings.Fields(m.run(append([]string{"add", "-q"}, paths...)...))
			for j, root := range rest {
				m.whole(root, paths[j])
			}
		}
	}
}

// Two adds at once, both killed.
func TestKillTwo(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	m := newMachine(t)
	for i := range 5 {
		var paths [2]string
		for j := range paths {
			paths[j] = makeTree(t, filepath.Join(t.TempDir(), fmt.Sprintf("%d-%d", i, j)), 4<<20, random)
		}
		var printed [2][]string
		var both sync.WaitGroup
		for j := range paths {
			after := time.Duration(random.Int64N(int64(400 * time.Millisecond)))
			both.Go(func() { printed[j] = m.killed(after, paths[j]) })
		}
		both.Wait()
		m.sound()
		for j := range printed {
			for _, root := range printed[j] {
				m.whole(root, paths[j])
			}
		}
	}
}

// serving starts a node and returns it with its gateway's URL.
func (m *machine) serving() (*exec.Cmd, string) {
	m.t.Helper()
	c := m.command(context.Background(), "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "gateway ")
	if err != nil || !ok {
		m.t.Fatalf("the node printed %q, %v", line, err)
	}
	return c, url
}

// A node that is killed takes running adds with it, and nothing else.
func TestKillNode(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	m := newMachine(t)
	for i := range 5 {
		node, _ := m.serving()
		var paths []string
		for j := range 4 {
			paths = append(paths, makeTree(t, filepath.Join(t.TempDir(), fmt.Sprintf("%d-%d", i, j)), 2<<20, random))
		}
		time.AfterFunc(time.Duration(random.Int64N(int64(300*time.Millisecond))), func() { node.Process.Kill() })
		printed := m.killed(time.Minute, paths...)
		node.Wait()
		m.sound()
		_, url := m.serving()
		for j, root := range printed {
			out := filepath.Join(t.TempDir(), "out")
			m.run("get", "-q", root, "-o", out, "-g", url)
			sameTree(t, paths[j], out)
		}
		r := m.try("serve", "--listen", "127.0.0.1:0")
		if r.code != 1 || !strings.Contains(r.err, "already running") {
			t.Fatalf("a second node: %+v", r)
		}
		m.stop()
	}
}

// stop interrupts the node of the home and waits for its end.
func (m *machine) stop() {
	m.t.Helper()
	var pid int
	for line := range strings.Lines(m.run("status")) {
		fmt.Sscanf(line, "pid %d", &pid)
	}
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		m.t.Fatalf("stop %d: %v", pid, err)
	}
	for m.try("status").code == 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// Ctrl-C ends an add, whatever it waits for, and the answer says how to go on.
func TestInterrupt(t *testing.T) {
	m := newMachine(t)
	for _, args := range [][]string{{"add", "-"}, {"pack", "import", "-"}} {
		code, said := m.interrupt(500*time.Millisecond, args...)
		for wait := time.Second; code == -1 && wait < time.Minute; wait *= 2 { // it had not begun to listen
			code, said = m.interrupt(wait, args...)
		}
		if code != 1 || !strings.HasPrefix(said, "hashstream: interrupted\n") || !strings.Contains(said, "run the same command again") {
			t.Errorf("%v: exit code %d, said %q", args, code, said)
		}
	}
	m.sound()
}

// interrupt runs a command, interrupts it after wait, and returns how it ended and what it said.
func (m *machine) interrupt(wait time.Duration, args ...string) (code int, said string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), wait+30*time.Second)
	defer cancel()
	c := m.command(ctx, args...)
	in, err := c.StdinPipe() // never written, never closed
	if err != nil {
		m.t.Fatal(err)
	}
	defer in.Close()
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	time.Sleep(wait)
	c.Process.Signal(os.Interrupt)
	c.Wait()
	if ctx.Err() != nil {
		m.t.Fatalf("%v goes on after an interrupt", args)
	}
	return c.ProcessState.ExitCode(), stderr.String()
}
