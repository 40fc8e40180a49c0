package catalog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/tagset"
)

func manifest(next uint64) layout.Manifest {
	return layout.Manifest{KeyBytes: 32, Next: next, Parts: make([]layout.ManifestPart, 2)}
}

// numbers returns the numbers of the files of removed tags.
func numbers(t *testing.T, d *Dir) (n []uint64) {
	t.Helper()
	all, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Kind == "tags" {
			n = append(n, e.Number)
		}
	}
	return n
}

// TestWrite writes the removed tags when they changed, and keeps one file of them, or two while nobody knows which
// counts.
func TestWrite(t *testing.T) {
	path, broken := t.TempDir(), false
	d := New(path, func(string) error {
		if broken {
			return errors.New("broken")
		}
		return nil
	})
	if _, _, err := d.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	write := func(set *tagset.Set, number uint64, files ...uint64) {
		t.Helper()
		if replaced, err := d.Write(manifest(number), set, number); !replaced || (err != nil) != broken {
			t.Fatal(replaced, err)
		}
		if diff := cmp.Diff(files, numbers(t, d)); diff != "" {
			t.Error(diff)
		}
		m, got, err := New(path, nil).Read()
		if err != nil || m.Next != number || !cmp.Equal(got.Spans(), set.Spans()) {
			t.Errorf("read %+v, %v, %v", m, got.Spans(), err)
		}
	}
	one := (*tagset.Set)(nil).Add([]valuestore.Tag{1, 2, 3}, 1)
	two := one.Add([]valuestore.Tag{7}, 2)
	write(nil, 1)
	write(one, 2, 2)
	write(one, 3, 2)
	write(two, 4, 4)
	broken = true
	write(one, 5, 4, 5)
	broken = false
	write(one, 6, 4, 5) // Open deletes the other one
	write(nil, 7, 4)

	if err := os.Mkdir(filepath.Join(path, Manifest+".tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if replaced, err := d.Write(manifest(8), two, 8); replaced || err == nil {
		t.Error(replaced, err)
	}
	if diff := cmp.Diff([]uint64{4}, numbers(t, d)); diff != "" {
		t.Error(diff)
	}
}

// TestDamage reads damaged files of removed tags, and none.
func TestDamage(t *testing.T) {
	path := t.TempDir()
	d := New(path, func(string) error { return nil })
	if _, err := d.Write(manifest(9), (*tagset.Set)(nil).Add([]valuestore.Tag{1, 2, 3}, 1), 4); err != nil {
		t.Fatal(err)
	}
	name := d.Path(4, "tags")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := append([]byte{}, whole...)
		b[i] ^= 4
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, err := New(path, nil).Read(); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := New(path, nil).Read(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
}

// TestVersion1 reads the manifest of a former version, with the removed tags in it.
func TestVersion1(t *testing.T) {
	path := t.TempDir()
	body := `{"key_bytes":32,"next":7,"log":7,"gen":3,"removed":{"5":1,"6":1,"9":3},"l0":[],"parts":[{"floor":0,"runs":[]}]}`
	for version, ok := range map[int]bool{1: true, 2: false} {
		b := fmt.Sprintf("hashstream values %d %08x\n%s", version, crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)), body)
		if err := os.WriteFile(filepath.Join(path, Manifest), []byte(b), 0o644); err != nil {
			t.Fatal(err)
		}
		m, removed, err := New(path, nil).Read()
		if !ok {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("version %d: %v", version, err)
			}
			continue
		}
		want := []tagset.Span{{From: 5, To: 6, Gen: 1}, {From: 9, To: 9, Gen: 3}}
		if err != nil || m.Gen != 3 || !cmp.Equal(removed.Spans(), want) {
			t.Errorf("%+v, %v, %v", m, removed.Spans(), err)
		}
	}
}
