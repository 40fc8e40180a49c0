package fsblob_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob/fsblob"
)

// TestMain makes the test binary its own child: with the variable set it is a
// process that writes into a store until it is killed.
func TestMain(m *testing.M) {
	switch dir, role, _ := strings.Cut(os.Getenv("FSBLOB_CHILD"), "|"); role {
	case "":
		os.Exit(m.Run())
	case "writer":
		writer(dir)
	case "limited":
		limited(dir)
	case "few descriptors":
		fewDescriptors(dir)
	}
}

func start(t *testing.T, dir, role string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "FSBLOB_CHILD="+dir+"|"+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, bufio.NewReader(out)
}

// content is what the writer stores under key: whoever knows the key can check it.
func content(key string) []byte {
	n, _ := strconv.Atoi(key[strings.LastIndexByte(key, '-')+1:])
	return bytes.Repeat([]byte(key+"\n"), 1000+n%7*2000)
}

// writer stores objects, by Put and by Draft, and prints each key once it is durable.
func writer(dir string) {
	s, err := fsblob.Open(dir, nil)
	ctx, fail := context.Background(), func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err != nil {
		fail(err)
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("d%d/k-%d-%d", i%5, os.Getpid(), i)
		if i%2 == 0 {
			err = s.Put(ctx, key, bytes.NewReader(content(key)))
		} else if d, derr := s.Draft(ctx); derr != nil {
			err = derr
		} else {
			d.WriteAt(content(key)[100:], 100)
			d.WriteAt(content(key)[:100], 0)
			err = d.Commit(ctx, key)
		}
		if err != nil {
			fail(err)
		}
		fmt.Println(key)
	}
}

// TestKill kills writers at random moments. What they acknowledged is there, what
// is listed is whole, and the next Open cleans up, but only after the dead.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	living := open(t, dir, nil)
	d, err := living.Draft(t.Context())
	must(t, err)
	defer d.Discard()
	acknowledged := map[string]bool{}
	for range 10 {
		cmd, out := start(t, dir, "writer")
		line, err := out.ReadString('\n') // now it is at work
		must(t, err)
		time.AfterFunc(time.Duration(rand.IntN(50))*time.Millisecond, func() { cmd.Process.Kill() })
		for ; err == nil; line, err = out.ReadString('\n') {
			acknowledged[strings.TrimSpace(line)] = true
		}
		cmd.Wait()
	}
	s := open(t, dir, nil)
	for i, err := range s.List(t.Context(), "") {
		must(t, err)
		if got := get(t, s, i.Key); got != string(content(i.Key)) {
			t.Errorf("%s is listed and not whole: %d bytes", i.Key, len(got))
		}
		delete(acknowledged, i.Key)
	}
	for key := range acknowledged {
		t.Errorf("%s was acknowledged and is absent", key)
	}
	if names := temps(t, dir); len(names) != 1 {
		t.Errorf("temporary files %q, want that of the living draft alone", names)
	}
	if _, err := d.WriteAt([]byte("still mine"), 0); err != nil {
		t.Error(err)
	}
	must(t, d.Commit(t.Context(), "living"))
	if got := get(t, s, "living"); got != "still mine" {
		t.Errorf("the living draft became %q", got)
	}
}

func TestStaleFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, ".tmp"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, ".tmp", "stale"), []byte("x"), 0o600))
	open(t, dir, nil)
	if names := temps(t, dir); len(names) != 0 {
		t.Errorf("temporary files %q after Open", names)
	}
}

// limited is a process whose files cannot grow beyond 256 KiB, which is what a
// full disk looks like.
func limited(dir string) {
	limit := syscall.Rlimit{Cur: 256 << 10, Max: 256 << 10}
	s, err := fsblob.Open(dir, nil)
	if err = errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit)); err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	fmt.Println(s.Put(ctx, "fits", bytes.NewReader(make([]byte, 1000))))
	fmt.Println(s.Put(ctx, "dir/large", bytes.NewReader(make([]byte, 1<<20))))
	d, err := s.Draft(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = d.WriteAt(make([]byte, 1<<20), 0)
	fmt.Println(err)
	fmt.Println(d.Discard())
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd, out := start(t, dir, "limited")
	b, err := io.ReadAll(out)
	must(t, errors.Join(err, cmd.Wait()))
	const want = "<nil>\nfsblob: put dir/large: file too large\nfsblob: write draft: file too large\n<nil>\n"
	if string(b) != want {
		t.Errorf("the process printed\n%s\nwant\n%s", b, want)
	}
	if names := temps(t, dir); len(names) != 0 {
		t.Errorf("temporary files %q", names)
	}
	s := open(t, dir, nil)
	for i, err := range s.List(t.Context(), "") {
		if i.Key != "fits" || i.Size != 1000 || err != nil {
			t.Errorf("listed %+v, %v", i, err)
		}
	}
}

// fewDescriptors is a process that may open fewer files than the store keeps.
func fewDescriptors(dir string) {
	limit := syscall.Rlimit{Cur: 40, Max: 40}
	s, err := fsblob.Open(dir, nil)
	if err = errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)); err != nil {
		fmt.Println(err)
		return
	}
	for i := range 100 {
		key := fmt.Sprint("k", i)
		err := s.Put(context.Background(), key, bytes.NewReader(make([]byte, 50<<10)))
		o, gerr := s.Get(context.Background(), key, 0, -1)
		if err = errors.Join(err, gerr); err == nil {
			_, err = io.Copy(new(bytes.Buffer), o)
			o.Close()
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println("done")
}

func TestFewDescriptors(t *testing.T) {
	cmd, out := start(t, t.TempDir(), "few descriptors")
	b, err := io.ReadAll(out)
	must(t, errors.Join(err, cmd.Wait()))
	if string(b) != "done\n" {
		t.Errorf("the process printed\n%s", b)
	}
}
