package segment

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// TestDamage flips each of many bits of a segment: it does not open, or reading it
// fails, or what is read is right, because nothing depends on the bit.
func TestDamage(t *testing.T) {
	all := several(3000, 5)
	s := write(t, 32, all)
	whole, err := os.ReadFile(s.name)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "bad.seg")
	check := func(bad []byte) (failed bool) {
		t.Helper()
		if err := os.WriteFile(name, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		o, err := Open(name, 32)
		if err == nil {
			defer o.Close()
			for i := range all {
				r := &all[i]
				c := o.Find(&r.Key, r.Head)
				if c == nil {
					t.Fatal("a record is told as absent")
				}
				found := false
				for c.Next() {
					found = found || c.Record().Compare(r) == 0 && c.Record().Gone == r.Gone
				}
				if err = c.Err(); err == nil && !found {
					t.Fatal("a record is told as absent")
				}
				c.Close()
				if err != nil {
					break
				}
			}
		}
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Fatal(err)
		}
		return err != nil
	}
	rng := rand.New(rand.NewPCG(3, 1))
	for range 300 {
		bad := slices.Clone(whole)
		at := rng.IntN(len(bad))
		bad[at] ^= 1 << rng.IntN(8)
		if failed := check(bad); !failed && at >= len(magic) {
			if err := readTags(mustOpen(t, name)); err == nil && int64(at) < s.tailAt {
				t.Errorf("byte %d was not checked", at)
			}
		}
		if !check(whole[:at]) {
			t.Errorf("cut at byte %d, and nobody saw it", at)
		}
	}
	// Two blocks that change places are seen, though each is whole.
	bad := slices.Clone(whole)
	for i := 1; i+1 < len(s.ends); i++ {
		a, b, c := s.start(i), s.ends[i], s.ends[i+1]
		if b-a == c-b {
			copy(bad[a:], whole[b:c])
			copy(bad[b:], whole[a:b])
			if !check(bad) {
				t.Error("blocks in the wrong order are read")
			}
			break
		}
	}
}

func mustOpen(t *testing.T, name string) *Segment {
	t.Helper()
	s, err := Open(name, 32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// FuzzOpen opens files that are not what a Writer wrote, with right checksums as well.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{1, 3, 12} {
		s := write(f, 32, several(n, 4))
		b, err := os.ReadFile(s.name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, 10, byte(3))
		f.Add(b, int(s.tailAt)+12, byte(0xff))
		f.Add(b, int(s.tagsAt), byte(0xff))
		f.Add(b, int(s.footAt)+20, byte(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, at int, change byte) {
		if len(b) > footerSize && at >= 0 && at < len(b) {
			b = resum(slices.Clone(b), at, change)
		}
		name := filepath.Join(t.TempDir(), "x.seg")
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(name, 32)
		if err == nil {
			defer s.Close()
			err = readTags(s)
		}
		if err == nil {
			r := valuestore.Everything()
			var c *Cursor
			if c, err = s.Scan(r.From, r.To, false); err == nil {
				for c.Next() {
					k := c.Record().Key
					if found := s.Find(&k, HeadOf(&k)); found != nil {
						found.Next()
						found.Close()
					}
				}
				err = c.Err()
				c.Close()
			}
		}
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Fatal(err)
		}
	})
}

// resum changes a byte and makes the checksums of index and footer right again.
func resum(b []byte, at int, change byte) []byte {
	b[at] ^= change
	foot := len(b) - footerSize
	tail := int64(binary.LittleEndian.Uint64(b[foot+48:]))
	if tail >= 0 && tail <= int64(foot) {
		binary.LittleEndian.PutUint32(b[foot+64:], checksum(tail, b[tail:foot]))
	}
	binary.LittleEndian.PutUint32(b[len(b)-4:], checksum(int64(foot), b[foot:len(b)-4]))
	return b
}

func readTags(s *Segment) error {
	for _, err := range s.Tags() {
		if err != nil {
			return err
		}
	}
	return nil
}
