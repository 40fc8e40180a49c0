package p2p_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/announce"
	"github.com/ipni/go-libipni/announce/gossiptopic"
	"github.com/ipni/go-libipni/announce/message"
	"github.com/ipni/go-libipni/announce/p2psender"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/p2p"
)

// number returns a CID of an advertisement that does not exist.
func number(tb testing.TB, n int) cid.Cid {
	tb.Helper()
	d, err := digest.Sum(digest.SHA256, fmt.Append(nil, n))
	if err != nil {
		tb.Fatal(err)
	}
	return d.CID(cid.DagJSON)
}

func join(tb testing.TB, h *p2p.Host) *p2p.Topic {
	tb.Helper()
	topic, err := h.Join(p2p.MainTopic)
	if err != nil {
		tb.Fatal(err)
	}
	return topic
}

// meet waits until two parties of the topic know of each other.
func meet(t *testing.T, peers func() []peer.ID) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); len(peers()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("they do not meet")
		}
	}
}

// next returns what comes next.
func next(t *testing.T, pull func() (p2p.Announcement, error, bool)) p2p.Announcement {
	t.Helper()
	a, err, ok := pull()
	if err != nil || !ok {
		t.Fatalf("no announcement: %v", err)
	}
	return a
}

func TestForeignSender(t *testing.T) {
	own := open(t, p2p.Options{})
	topic := join(t, own)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	pull, stop := iter.Pull2(topic.All(ctx))
	defer stop()
	h := foreign(t, newKey(t))
	theirTopic, leave, err := gossiptopic.MakeTopic(h, p2p.MainTopic)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	sender, err := p2psender.New(h, p2p.MainTopic, p2psender.WithTopic(theirTopic))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context(), own.Info()); err != nil {
		t.Fatal(err)
	}
	meet(t, theirTopic.ListPeers)
	origin, err := peer.IDFromPrivateKey(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := theirTopic.Publish(t.Context(), []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(t.Context(), message.Message{Cid: number(t, 0), OrigPeer: "nobody"}); err != nil {
		t.Fatal(err)
	}
	for n, orig := range []string{"", origin.String()} {
		m := message.Message{Cid: number(t, n+1), OrigPeer: orig}
		m.SetAddrs([]multiaddr.Multiaddr{multiaddr.StringCast("/dns4/example.com/tcp/443/https")})
		if err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		want := map[string]peer.ID{"": h.ID(), origin.String(): origin}[orig]
		if a := next(t, pull); a.CID != m.Cid || a.Publisher != want || a.Sender != h.ID() || len(a.Addrs) != 1 {
			t.Errorf("%+v, want %s of %s", a, m.Cid, want)
		}
	}
}

// What is malformed is not passed on. A good message is sent after each bad one until one
// comes through, for it takes a heartbeat until the two are neighbours in the topic.
func TestRelay(t *testing.T) {
	own := open(t, p2p.Options{})
	topic := join(t, own)
	_, stop := iter.Pull2(topic.All(t.Context()))
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	beyond := listenBeyond(t, own)
	h := foreign(t, newKey(t))
	source, leave, err := gossiptopic.MakeTopic(h, p2p.MainTopic)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if err := h.Connect(t.Context(), own.Info()); err != nil {
		t.Fatal(err)
	}
	meet(t, source.ListPeers)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for n := 0; ctx.Err() == nil; n++ {
			good, err := ad.EncodeMessage(ad.Message{CID: number(t, n)})
			if err != nil {
				t.Error(err)
			}
			_ = source.Publish(ctx, fmt.Append(nil, "garbage ", n))
			_ = source.Publish(ctx, good)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	for range 5 {
		m, err := beyond(ctx)
		if err != nil {
			t.Error(err)
			break
		}
		if _, err := ad.DecodeMessage(m); err != nil {
			t.Errorf("passed on %q: %v", m, err)
		}
	}
	cancel()
	<-sent
}

// listenBeyond makes another host of go-libipni that knows own alone, and returns what
// waits for a message there.
func listenBeyond(t *testing.T, own *p2p.Host) func(context.Context) ([]byte, error) {
	t.Helper()
	h := foreign(t, newKey(t))
	topic, leave, err := gossiptopic.MakeTopic(h, p2p.MainTopic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leave)
	sub, err := topic.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context(), own.Info()); err != nil {
		t.Fatal(err)
	}
	meet(t, topic.ListPeers)
	return func(ctx context.Context) ([]byte, error) {
		m, err := sub.Next(ctx)
		if err != nil {
			return nil, err
		}
		return m.GetData(), nil
	}
}

func TestForeignReceiver(t *testing.T) {
	own := open(t, p2p.Options{})
	topic := join(t, own)
	h := foreign(t, newKey(t))
	receiver, err := announce.NewReceiver(h, p2p.MainTopic)
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	if err := h.Connect(t.Context(), own.Info()); err != nil {
		t.Fatal(err)
	}
	meet(t, topic.Peers)
	want := ad.Message{CID: number(t, 1), Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/example.com/tcp/443/https")}}
	if err := topic.Publish(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, err := receiver.Next(ctx)
	if err != nil || got.Cid != want.CID || got.PeerID != own.ID() || !got.Addrs[0].Equal(want.Addrs[0]) {
		t.Errorf("%+v, %v", got, err)
	}
}

// The topic of two hosts: one's own announcements are not told, an end of the context
// ends the iteration, and a topic can be joined again after it was left.
func TestTopic(t *testing.T) {
	a, b := open(t, p2p.Options{}), open(t, p2p.Options{})
	for range 2 {
		topicA, topicB := join(t, a), join(t, b)
		if _, err := a.Join(p2p.MainTopic); err == nil {
			t.Error("joined twice")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		pull, stop := iter.Pull2(topicA.All(ctx))
		all := topicB.All(ctx)
		pullB, stopB := iter.Pull2(all)
		if err := a.Connect(t.Context(), b.Info()); err != nil {
			t.Fatal(err)
		}
		meet(t, topicA.Peers)
		meet(t, topicB.Peers)
		n := int(time.Now().UnixNano())
		if err := topicA.Publish(t.Context(), ad.Message{CID: number(t, n)}); err != nil {
			t.Fatal(err)
		}
		if got := next(t, pullB); got.CID != number(t, n) || got.Publisher != a.ID() {
			t.Errorf("%+v", got)
		}
		if err := topicB.Publish(t.Context(), ad.Message{CID: number(t, n+1)}); err != nil {
			t.Fatal(err)
		}
		if got := next(t, pull); got.CID != number(t, n+1) {
			t.Errorf("%+v, of oneself?", got)
		}
		if err := topicA.Publish(t.Context(), ad.Message{}); err == nil {
			t.Error("published nothing")
		}
		cancel()
		if got, err, ok := pull(); ok {
			t.Errorf("after its end: %v, %v", got, err)
		}
		stop()
		stopB()
		for _, topic := range []*p2p.Topic{topicA, topicB} {
			if err := topic.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
