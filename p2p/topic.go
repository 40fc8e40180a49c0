package p2p

import (
	"context"
	"errors"
	"fmt"
	"iter"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/crypto/blake2b"

	"github.com/hashstream/hashstream/ipni/ad"
)

// MainTopic is where publishers of the public network announce advertisements.
const MainTopic = "/indexer/ingest/mainnet"

// directTicks is how often connections to direct peers are checked, in heartbeats.
const directTicks = 30

// Topic is a topic of announcements that the host has joined.
type Topic struct {
	host  *Host
	topic *pubsub.Topic
}

// Announcement is a message of a topic.
type Announcement struct {
	Publisher peer.ID // that it says to be of: the sender, or whom the sender passes on
	Sender    peer.ID // who signed the message
	ad.Message
}

// Join joins a topic of announcements, once for each host, with the parameters of
// go-libipni. What is malformed is neither passed on nor shown. Close leaves the topic.
func (h *Host) Join(name string) (*Topic, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errClosed
	}
	if h.gossip == nil {
		if err := h.startGossip(); err != nil {
			return nil, fmt.Errorf("p2p: join %s: %w", name, err)
		}
	}
	if !h.topics[name] { // a validator outlives its topic
		if err := h.gossip.RegisterTopicValidator(name, validate); err != nil {
			return nil, fmt.Errorf("p2p: join %s: %w", name, err)
		}
		h.topics[name] = true
	}
	topic, err := h.gossip.Join(name)
	if err != nil {
		return nil, fmt.Errorf("p2p: join %s: %w", name, err)
	}
	return &Topic{h, topic}, nil
}

func (h *Host) startGossip() error {
	ctx, cancel := context.WithCancel(context.Background())
	gossip, err := pubsub.NewGossipSub(ctx, h.host,
		pubsub.WithPeerExchange(true),
		pubsub.WithFloodPublish(true),
		pubsub.WithDirectConnectTicks(directTicks),
		pubsub.WithMaxMessageSize(ad.MaxMessage),
		pubsub.WithMessageIdFn(func(m *pb.Message) string {
			id := blake2b.Sum256(m.GetData())
			return string(id[:])
		}),
	)
	if err != nil {
		cancel()
		return err
	}
	h.gossip, h.cancel = gossip, cancel
	return nil
}

// validate decodes a message, and rejects it if that fails.
func validate(_ context.Context, _ peer.ID, m *pubsub.Message) pubsub.ValidationResult {
	a, err := parse(m)
	if err != nil {
		return pubsub.ValidationReject
	}
	m.ValidatorData = a
	return pubsub.ValidationAccept
}

func parse(m *pubsub.Message) (a Announcement, err error) {
	a.Sender = m.GetFrom()
	if a.Message, err = ad.DecodeMessage(m.GetData()); err != nil {
		return a, err
	}
	a.Publisher = a.Sender
	if a.OrigPeer != "" {
		a.Publisher, err = peer.Decode(a.OrigPeer)
	}
	return a, err
}

// Publish sends an announcement to the peers of the topic.
func (t *Topic) Publish(ctx context.Context, m ad.Message) error {
	data, err := ad.EncodeMessage(m)
	if err != nil {
		return err
	}
	if err := t.topic.Publish(ctx, data); err != nil {
		return fmt.Errorf("p2p: publish to %s: %w", t.topic, err)
	}
	return nil
}

// Peers returns the peers that are known to be in the topic.
func (t *Topic) Peers() []peer.ID { return t.topic.ListPeers() }

// All yields what others announce from the call on, until ctx ends; it is to be ranged
// over once. Who falls behind misses announcements: an index polls its publishers, too.
func (t *Topic) All(ctx context.Context) iter.Seq2[Announcement, error] {
	sub, err := t.topic.Subscribe() // now, so that nothing is missed that comes before the first round
	return func(yield func(Announcement, error) bool) {
		if err != nil {
			yield(Announcement{}, fmt.Errorf("p2p: subscribe to %s: %w", t.topic, err))
			return
		}
		defer sub.Cancel()
		for {
			m, err := sub.Next(ctx)
			switch {
			case ctx.Err() != nil, errors.Is(err, pubsub.ErrSubscriptionCancelled):
				return
			case err != nil:
				yield(Announcement{}, fmt.Errorf("p2p: read %s: %w", t.topic, err))
				return
			}
			a, ok := m.ValidatorData.(Announcement)
			if !ok || a.Sender == t.host.ID() {
				continue
			}
			if !yield(a, nil) {
				return
			}
		}
	}
}

// Close leaves the topic. Iterations must have ended.
func (t *Topic) Close() error {
	if err := t.topic.Close(); err != nil {
		return fmt.Errorf("p2p: leave %s: %w", t.topic, err)
	}
	return nil
}
