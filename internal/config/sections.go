package config

// The comment of each field is the documentation of its key in [Template]:
// write for the person who edits the file.

// Where packs and the index are kept. Paths that are not absolute start at the
// home directory.
type Store struct {
	// The store of packs: file:PATH, mem: (gone when the node stops), a bucket such as
	// "s3://BUCKET/PREFIX?region=REGION", "gs://BUCKET" or "azblob://CONTAINER", or
	// http://HOST/PATH and https://HOST/PATH to serve packs that lie elsewhere (read only).
	Packs string `toml:"packs"`
	// The store of the index: pebble:PATH, mem: (gone when the node stops), or
	// "postgres://USER@HOST/DATABASE" for many nodes that share one. The password
	// may come from PGPASSWORD or ~/.pgpass.
	Index string `toml:"index"`
}

// How content is added. Options of the add command win.
type Add struct {
	// The UnixFS profile that decides the CIDs (IPIP-499): "unixfs-v1-2025" or
	// "unixfs-v0-2015".
	Profile string `toml:"profile"`
	// The size at which a pack is ended and the next begun.
	PackSize Size `toml:"pack_size"`
	// What the index records: "single-level" (where each block is), "multiple-level"
	// (each root with its packs and blocks, and the plan that makes serving fast),
	// "all" (both) or "none".
	Index string `toml:"index"`
}

// Content that stays where it is: 'hashstream add --in-place'.
type Sources struct {
	// What may be indexed in place and is read to be served: absolute directories, and
	// URLs of buckets and web servers such as "s3://BUCKET/PREFIX?region=REGION",
	// "gs://BUCKET", "azblob://CONTAINER" or "https://HOST/PATH", and what is below each.
	// Nothing else is ever opened. Credentials come from the provider's own variables
	// and files, never from here.
	Roots []string `toml:"roots"`
}

// How sources are hashed. Workers on other machines share the queue and the index.
type Pipeline struct {
	// The queue of tasks: mem: (of this process), nats://HOST/STREAM or
	// awssqs://HOST/ACCOUNT/QUEUE.
	Queue string `toml:"queue"`
	// Tasks done at the same time. 0 is one for each processor.
	Concurrency int `toml:"concurrency"`
}

// The public HTTP listener.
type Gateway struct {
	// Address and port. Port 0 picks a free one and prints it. With ":8080" all
	// machines that reach this one can ask.
	Listen string `toml:"listen"`
	// Certificate and key files (PEM) for HTTPS. Both or none.
	TLSCert string `toml:"tls_cert"`
	// The key file that belongs to tls_cert.
	TLSKey string `toml:"tls_key"`
	// Requests served at once. More are answered 429 with Retry-After. 0 is no limit.
	MaxConcurrent int `toml:"max_concurrent"`
	// Requests a second for each client address. More are answered 429 with
	// Retry-After. 0 is no limit.
	Rate float64 `toml:"rate"`
	// Requests that a client may send at once before its rate applies.
	Burst int `toml:"burst"`
	// Addresses or networks (CIDR) of reverse proxies whose X-Forwarded-For header
	// names the client.
	TrustedProxies []string `toml:"trusted_proxies"`
	// Time that a client has to send its request's headers.
	HeaderTimeout Duration `toml:"header_timeout"`
	// Time that a connection may stay open without a request.
	IdleTimeout Duration `toml:"idle_timeout"`
	// Time without progress after which a response is cut off.
	StallTimeout Duration `toml:"stall_timeout"`
	// Time that running responses have to end when the node stops.
	ShutdownTimeout Duration `toml:"shutdown_timeout"`
}

// The listener for health, metrics and profiles. It has no login.
type Admin struct {
	// Address and port. Empty turns it off.
	Listen string `toml:"listen"`
	// Permit an address that other machines can reach.
	AllowRemote bool `toml:"allow_remote"`
	// A file with the secret of those who may tell the provider index what to do, such as
	// an assigner of storetheindex. They show it as "Authorization: Bearer SECRET" or as the
	// password of a URL, http://assigner:SECRET@HOST:PORT. Empty: the listener only tells.
	IPNITokenFile string `toml:"ipni_token_file"`
}

// When bytes are checked against their hash.
type Verify struct {
	// "once" checks a block the first time that this process serves it, "always" each
	// time, "never" leaves it to the scrubber and to the client.
	Mode string `toml:"mode"`
}

// The background check of all stored packs. What fails is never served again.
type Scrub struct {
	// Run while the node runs.
	Enabled bool `toml:"enabled"`
	// Bytes read a second at most. 0 is no limit.
	Rate ByteRate `toml:"rate"`
	// Time from the start of one pass to the start of the next.
	Interval Duration `toml:"interval"`
}

// Caches. 0 turns one off.
type Cache struct {
	// The embedded index's own cache of its pages.
	Index Size `toml:"index"`
	// Plans of recently served content.
	Plans Size `toml:"plans"`
	// Small blocks that were recently read, such as directories.
	Blocks Size `toml:"blocks"`
	// Disk for what a node reads of packs in a bucket, on which it reads them again. It
	// is kept over restarts.
	Disk Size `toml:"disk"`
	// The directory of that.
	DiskDir string `toml:"disk_dir"`
}

// The provider index (IPNI): who has which multihash, for those who ask with the
// multihash or with its hash alone.
type IPNI struct {
	// What this node does: "ingest" (take announcements, follow the chains of publishers),
	// "store" (keep records, for other nodes too if shard.listen is set), "find" (answer
	// lookups), "publish" (advertise what this node stores). None by default.
	Roles []string `toml:"roles"`
	// Providers, progress of ingestion, members and leases: a URL like store.index. Nodes with
	// the same postgres://HOST/DATABASE here share one index. Empty is the store of the index
	// (store.index) of a node that is alone.
	State string `toml:"state"`
	// The store of records: segments:PATH, mem: (gone when the node stops) or a URL like
	// store.index.
	Values string `toml:"values"`
	// "sealed" keeps hashes and ciphertext alone. "compact" keeps the multihashes
	// themselves, in a third of the space, for a node that ingests for itself.
	Mode string `toml:"mode"`
	// Memory for records that are not yet in segments.
	Memory Size `toml:"memory"`
	// The private key of this node (libp2p), which is made when it is first needed.
	Key string `toml:"key"`
}

// How advertisement chains are followed.
type Ingest struct {
	// Publishers that may announce: "any", or "listed" for those of 'hashstream ipni allow'.
	Publishers string `toml:"publishers"`
	// Whom a publisher may advertise for: "own" is the peer that signed, "any" everybody,
	// as public indexers do.
	PublishFor string `toml:"publish_for"`
	// Fetch from loopback and private addresses. Refused by default, since an
	// announcement can name any address.
	AllowPrivate bool `toml:"allow_private"`
	// Chains followed at the same time.
	Workers int `toml:"workers"`
	// Advertisements a second for each publisher at most. 0 is no limit.
	Rate float64 `toml:"rate"`
	// Multihashes a second for each publisher at most. Who has had them waits without
	// keeping others from their turn. 0 is no limit.
	EntryRate float64 `toml:"entry_rate"`
	// Share of the disk of ipni.values, in percent, from which on no more entries are taken.
	// Removals, metadata and lookups go on.
	FreezeAt int `toml:"freeze_at"`
	// Time after which a publisher that says nothing is asked for news.
	Poll Duration `toml:"poll"`
	// Take announcements of the libp2p topic /indexer/ingest/mainnet as well. Needs p2p.listen.
	Gossip bool `toml:"gossip"`
	// Multiaddrs with /p2p/PEER of those to whom the node keeps a connection for that. Others
	// may connect to it by themselves.
	GossipPeers []string `toml:"gossip_peers"`
}

// How lookups are answered.
type Find struct {
	// Time that caches may keep an answer.
	TTL Duration `toml:"ttl"`
	// Time that caches may keep that there is none. What was just advertised is not
	// found for that long by those who asked too early.
	NegativeTTL Duration `toml:"negative_ttl"`
	// URLs of other indexers, asked beside the own index.
	Indexers []string `toml:"indexers"`
	// Indexers asked only for ?cascade=LABEL, each as "LABEL=URL".
	Cascade []string `toml:"cascade"`
	// URL of an indexer that this one is compared with, for the metric hashstream_ipni_coverage.
	// It is sent some of what clients look up, also multihashes in plain if they do so.
	Compare string `toml:"compare"`
	// Share of lookups that is compared, from 0 to 0.5. Many at once are not compared.
	CompareShare float64 `toml:"compare_share"`
	// Time between comparisons of the providers that are known.
	CompareInterval Duration `toml:"compare_interval"`
}

// One index over many nodes. Those of one ipni.state belong together.
type Shard struct {
	// Address and port on which this node's records are read and written by other nodes.
	// Empty: this node is alone.
	Listen string `toml:"listen"`
	// The URL by which others reach that, another one for each node. Empty is the address of the listener,
	// which must then not be one of all (":4001", "0.0.0.0:4001").
	URL string `toml:"url"`
	// The name of this node. Empty is its peer id.
	Name string `toml:"name"`
	// A file with the secret that nodes and writers show. Without it only this machine may
	// write.
	TokenFile string `toml:"token_file"`
	// Nodes that keep each record.
	Replicas int `toml:"replicas"`
	// Share of the records that this node keeps, relative to the other nodes.
	Weight int `toml:"weight"`
	// Bytes that this node writes a second, at most, when records move between nodes.
	RebalanceRate ByteRate `toml:"rebalance_rate"`
}

// Copies of advertisements in a store of bytes, from which an index is made anew.
type Mirror struct {
	// The store, a URL like store.packs. Empty: no mirror.
	Store string `toml:"store"`
	// Write what is ingested.
	Write bool `toml:"write"`
	// Where advertisements are read: "publisher" (never here), "first" (here, then of the
	// publisher) or "only" (here).
	Read string `toml:"read"`
}

// How what this node stores is advertised. Takes effect with the role "publish".
type Publish struct {
	// The store of the advertisements, a URL like store.packs.
	Store string `toml:"store"`
	// URLs of indexers that are told of news, such as "https://cid.contact".
	Announce []string `toml:"announce"`
	// Multiaddrs by which others reach the gateway, such as "/dns4/HOST/tcp/443/https".
	// Empty is the address of the listener.
	Addresses []string `toml:"addresses"`
	// Time between looks for what was added or removed.
	Interval Duration `toml:"interval"`
}

// The libp2p host.
type P2P struct {
	// Multiaddrs to listen on, such as "/ip4/0.0.0.0/tcp/4001". Empty: no host.
	Listen []string `toml:"listen"`
}

// What the node writes to standard error.
type Log struct {
	// The least that is written: "debug", "info", "warn" or "error".
	Level string `toml:"level"`
	// "json" or "text".
	Format string `toml:"format"`
	// Write a line for each request.
	Access bool `toml:"access"`
}

// OpenTelemetry traces, sent by OTLP over HTTP.
type Trace struct {
	// URL of the collector, such as "http://127.0.0.1:4318". Empty turns traces off.
	Endpoint string `toml:"endpoint"`
	// Share of requests that are traced, from 0 to 1, if the client did not decide.
	SampleRatio float64 `toml:"sample_ratio"`
}
