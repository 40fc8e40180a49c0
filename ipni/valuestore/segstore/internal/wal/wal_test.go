package wal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

func frame(content string) []byte { return append(Buffer(len(content)), content...) }

// log writes a log with frames and returns its path and place.
func log(t testing.TB, number uint64, before Place, frames ...string) (string, Place) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "x.log")
	l, err := Create(name, number, before)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := l.Write(frame(f)); err != nil {
			t.Fatal(err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return name, l.Place()
}

func read(t testing.TB, name string, end int64) (frames []string, err error) {
	t.Helper()
	r, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for {
		b, err := r.Next(end)
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, string(b))
	}
}

func TestLog(t *testing.T) {
	want := []string{"a", "", string(bytes.Repeat([]byte("long"), 5000)), "z"}
	name, place := log(t, 7, Place{3, 12345}, want...)
	for _, end := range []int64{0, place.Length} {
		got, err := read(t, name, end)
		if err != nil || len(got) != len(want) {
			t.Fatal(got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("frame %d differs", i)
			}
		}
	}
	r, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Number() != 7 || r.Before() != (Place{3, 12345}) {
		t.Errorf("number %d, before %v", r.Number(), r.Before())
	}
}

// TestDamage changes a byte of each frame: that of the last is taken for one that was being
// written when the machine stopped, unless the log is known to be longer.
func TestDamage(t *testing.T) {
	name, place := log(t, 1, Place{}, "first", "second", "third")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for _, at := range []int{0, 5, 9, 17, 25, FrameHead + 2} {
			bad := bytes.Clone(whole)
			bad[(i+1)*page+at] ^= 4
			if err := os.WriteFile(name, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := read(t, name, 0)
			if len(got) != i || (err == nil) != (i == 2) || err != nil && !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("frame %d, byte %d: %q, %v", i, at, got, err)
			}
			if got, err = read(t, name, place.Length); len(got) != i || !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("frame %d, byte %d, of a longer log: %q, %v", i, at, got, err)
			}
		}
	}
	if err := os.WriteFile(name, whole[:len(whole)-page], 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, name, place.Length); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a frame is missing: %q, %v", got, err)
	}
	for n, want := range map[int]error{0: io.EOF, 20: io.EOF, 50: nil} {
		if err := os.WriteFile(name, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(name); !errors.Is(err, want) && want != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// TestOldFrame has a frame of another log behind the end: it does not count.
func TestOldFrame(t *testing.T) {
	name, _ := log(t, 1, Place{}, "first", "second", "third")
	other, _ := log(t, 1, Place{}, "one", "two", "three")
	a, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(a[:2*page:2*page], b[2*page:]...), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, name, 0); err != nil || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzOpen reads logs of any form.
func FuzzOpen(f *testing.F) {
	name, _ := log(f, 1, Place{}, "first", "second")
	b, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, int64(0))
	f.Add(b[:page+10], int64(2*page))
	f.Fuzz(func(t *testing.T, b []byte, end int64) {
		name := filepath.Join(t.TempDir(), "x.log")
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := read(t, name, end)
		if err != nil && !errors.Is(err, digest.ErrMismatch) && !errors.Is(err, io.EOF) && len(b) < 9 {
			t.Fatal(err)
		}
		if len(got)*FrameHead > len(b) {
			t.Fatalf("%d frames of %d bytes", len(got), len(b))
		}
	})
}
