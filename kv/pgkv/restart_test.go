package pgkv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/servertest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/pgkv"
)

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func increment(old []byte) ([]byte, error) {
	if old == nil {
		return number(1), nil
	}
	return number(binary.BigEndian.Uint64(old) + 1), nil
}

// load is workers that read and write, and what the store has promised them.
type load struct {
	s        *pgkv.Store
	progress chan struct{} // gets one for each round
	stop     atomic.Bool
	wg       sync.WaitGroup
	written  [8]uint64
	counted  atomic.Uint64 // updates that returned
	unknown  atomic.Uint64 // updates that may have been applied
}

func (l *load) start(t *testing.T) {
	l.progress = make(chan struct{})
	for w := range l.written {
		l.wg.Go(func() {
			for n := uint64(0); !l.stop.Load() && l.round(t, byte(w), n); n++ {
				l.written[w] = n + 1
				select {
				case l.progress <- struct{}{}:
				default:
				}
			}
		})
	}
}

// round expects to notice nothing of restarts.
func (l *load) round(t *testing.T, w byte, n uint64) bool {
	key := append([]byte{'w', w}, number(n)...)
	err := l.s.Batch(t.Context(), []kv.Op{kv.Put(key, number(n)), kv.Delete([]byte{'x', w}), kv.Put([]byte{'l', w}, number(n))})
	if err != nil {
		t.Error(err)
		return false
	}
	if v, err := l.s.Get(t.Context(), key); err != nil || string(v) != string(number(n)) {
		t.Errorf("what was written reads as %x, %v", v, err)
		return false
	}
	for p, err := range l.s.Scan(t.Context(), kv.Prefix(key)) {
		if err != nil || string(p.Value) != string(number(n)) {
			t.Errorf("what was written scans as %x, %v", p, err)
			return false
		}
	}
	switch err := l.s.Update(t.Context(), []byte("count"), increment); {
	case errors.Is(err, pgkv.ErrUnknown):
		l.unknown.Add(1)
	case err != nil:
		t.Error(err)
		return false
	default:
		l.counted.Add(1)
	}
	return true
}

// await returns after some rounds more.
func (l *load) await(t *testing.T) {
	t.Helper()
	late := time.After(time.Minute)
	for range 100 {
		select {
		case <-l.progress:
		case <-late:
			t.Fatal("the load does not go on")
		}
	}
}

// check looks for everything that the store has promised.
func (l *load) check(t *testing.T) {
	l.stop.Store(true)
	l.wg.Wait()
	for w, n := range l.written {
		if got := count(t, l.s, kv.Prefix([]byte{'w', byte(w)})); got < int(n) || got > int(n)+1 {
			t.Errorf("worker %d wrote %d pairs, there are %d", w, n, got)
		}
	}
	v, err := l.s.Get(t.Context(), []byte("count"))
	if err != nil {
		t.Fatal(err)
	}
	n, counted, unknown := binary.BigEndian.Uint64(v), l.counted.Load(), l.unknown.Load()
	t.Logf("%d updates returned, %d are unknown, the count is %d", counted, unknown, n)
	if n < counted || n > counted+unknown {
		t.Errorf("the count is wrong")
	}
}

func TestRestart(t *testing.T) {
	server := servertest.Start(t, "postgres")
	var log strings.Builder
	s := open(t, server.URL, &pgkv.Options{RetryFor: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	l := &load{s: s}
	l.start(t)
	for _, stop := range []func(){server.Stop, server.Kill, server.Kill} {
		l.await(t)
		stop()
		server.Run()
	}
	l.await(t)
	l.check(t)
	s.Close()
	password := strings.Split(strings.Split(server.URL, "@")[0], ":")[2]
	if text := log.String(); !strings.Contains(text, "pgkv: repeat") || strings.Contains(text, password) {
		t.Errorf("the log says nothing of repeated calls, or too much:\n%s", text)
	}
}

// A scan that has yielded must not go on with another snapshot.
func TestRestartInScan(t *testing.T) {
	server := servertest.Start(t, "postgres")
	s := open(t, server.URL, nil)
	if err := s.Batch(t.Context(), records(0, 3000)); err != nil {
		t.Fatal(err)
	}
	n, failed := 0, false
	for _, err := range s.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			failed = true
			if want := fmt.Sprintf("after %d pairs", n); !strings.Contains(err.Error(), want) {
				t.Errorf("%v: want %q", err, want)
			}
			continue
		}
		if n == 0 {
			server.Stop()
			server.Run()
		}
		n++
	}
	if !failed || n >= 3000 {
		t.Errorf("the scan went on after a restart: %d pairs", n)
	}
	if n := count(t, s, kv.Range{}); n != 3000 {
		t.Errorf("after the restart a scan yields %d of 3000 pairs", n)
	}
}

// An operator ends every connection while nobody uses it.
func TestTerminated(t *testing.T) {
	address := own(t, "application_name", fmt.Sprint("terminated", time.Now().UnixNano()))
	s := open(t, address, nil)
	for range 20 {
		terminate(t, address)
		if err := s.Batch(t.Context(), []kv.Op{kv.Put([]byte("a"), []byte("1")), kv.Delete([]byte("b"))}); err != nil {
			t.Fatal(err)
		}
		terminate(t, address)
		if _, err := s.Get(t.Context(), []byte("a")); err != nil {
			t.Fatal(err)
		}
	}
}
