package cli_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of a few MiB. Only root may; elsewhere it says so
// and returns false, but where CI is set that is a failure.
func smallDisk(t *testing.T, size string) (string, bool) {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("mount a small tmpfs: %v", err)
		}
		t.Logf("not tested: mount a small tmpfs: %v; run as root", err)
		return "", false
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, true
}

// A full disk is an error that says so; everything that was printed stays.
func TestFullDisk(t *testing.T) {
	disk, ok := smallDisk(t, "64m")
	if !ok {
		return
	}
	random := rand.New(rand.NewPCG(7, 8))
	small := makeTree(t, filepath.Join(t.TempDir(), "small"), 3<<20, random)
	large := makeTree(t, filepath.Join(t.TempDir(), "large"), 80<<20, random)
	for _, node := range []bool{false, true} {
		m := newMachine(t)
		m.home = filepath.Join(disk, "home")
		if node {
			m.serving()
		}
		root := strings.TrimSpace(m.run("add", "-q", small))
		for _, args := range [][]string{{"add", "-q", large}, {"add", "-q", "--pack-size", "4MiB", large}} {
			r := m.try(args...)
			if r.code != 1 || !strings.Contains(r.err, "no space left on device") || !strings.Contains(r.err, "free space") || r.out != "" {
				t.Errorf("node %v: %v: %+v", node, args[:3], r)
			}
			m.whole(root, small)
			m.sound()
		}
		if r := m.try("pack", "clear", "--yes"); r.code != 0 {
			t.Errorf("node %v: clear: %+v", node, r)
		}
		if again := strings.TrimSpace(m.run("add", "-q", small)); again != root {
			t.Errorf("%s, then %s", root, again)
		}
		if node {
			m.stop()
		}
		if err := os.RemoveAll(m.home); err != nil {
			t.Fatal(err)
		}
	}
}

// Not a byte is left, also not for the index.
func TestNoByteLeft(t *testing.T) {
	disk, ok := smallDisk(t, "40m")
	if !ok {
		return
	}
	m := newMachine(t)
	m.home = filepath.Join(disk, "home")
	random := rand.New(rand.NewPCG(9, 10))
	small := makeTree(t, filepath.Join(t.TempDir(), "small"), 1<<20, random)
	other := makeTree(t, filepath.Join(t.TempDir(), "other"), 1<<20, random)
	root := strings.TrimSpace(m.run("add", "-q", small))
	m.serving()
	filler, err := os.Create(filepath.Join(disk, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for chunk := make([]byte, 1<<16); err == nil; {
		_, err = filler.Write(chunk)
	}
	r := m.try("add", "-q", other)
	if r.code != 1 || !strings.Contains(r.err, "no space left on device") || r.out != "" {
		t.Errorf("add: %+v", r)
	}
	m.whole(root, small)
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	filler.Close()
	m.whole(strings.TrimSpace(m.run("add", "-q", other)), other)
	m.sound()
	m.stop()
	m.whole(root, small)
}

// A home that cannot be written says so.
func TestReadOnlyHome(t *testing.T) {
	disk, ok := smallDisk(t, "40m")
	if !ok {
		return
	}
	m := newMachine(t)
	m.home = filepath.Join(disk, "home")
	tree := makeTree(t, filepath.Join(t.TempDir(), "tree"), 1<<20, rand.New(rand.NewPCG(11, 12)))
	root := strings.TrimSpace(m.run("add", "-q", tree))
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"add", tree}, {"dump", root}, {"serve", "--listen", "127.0.0.1:0"}, {"pack", "clear", "--yes"}, {"init"}} {
		r := m.try(args...)
		if r.code != 1 || !strings.Contains(r.err, "read-only file system") || !strings.Contains(r.err, "choose another --home") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	m.whole(root, tree)
}
