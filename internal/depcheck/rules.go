package depcheck

import (
	"slices"
	"strings"
)

// Rules is an architecture. Paths of packages are relative to the module, and
// each stands for itself and what is below it.
type Rules struct {
	Module string

	Layers       map[string]int      // package → layer; imports point to the same layer or a lower one
	PureLayers   []int               // layers that import nothing of Impure
	Impure       []string            // what touches the machine
	Harmless     []string            // of that, what does not
	ApartLayers  []int               // layers whose packages do not import each other
	Ends         map[string]string   // of these, the client of a protocol → the server that defines it
	Assembly     int                 // from this layer on, everything may be needed indirectly
	Backends     []string            // implementations of the storage seams
	BackendUsers []string            // who may import them
	Heavy        []Heavy             // modules that live in one place each
	Knows        map[string][]string // package → all of the module that it may need, directly or not

	BadNames   []string       // names of packages that say nothing
	EnvUsers   []string       // who reads the environment and the command line
	PureCalls  []string       // functions that may initialise a package variable
	MaxFile    int            // lines of a file
	MaxPackage int            // lines of code of a package: neither blank nor comment alone
	Sizes      map[string]int // packages with a limit of their own
}

// Heavy is modules with the only places that may import them.
type Heavy struct {
	Modules []string
	Homes   []string // a package, or "…x" for all whose name ends with x
	Except  []string // parts of the modules that are light, and free
}

// home reports whether h lives in the package name.
func (h Heavy) home(name string) bool {
	return slices.ContainsFunc(h.Homes, func(home string) bool {
		if suffix, ok := strings.CutPrefix(home, "…"); ok {
			return strings.HasSuffix(name, suffix)
		}
		return within(name, []string{home})
	})
}

// Hashstream returns the architecture of this module. Packages that are planned
// have their place here already.
func Hashstream() Rules {
	return Rules{
		Module: "github.com/hashstream/hashstream",
		Layers: map[string]int{
			"accept": 0, "jsonappend": 0, "digest": 0, "block": 0, "car": 0, "unixfs": 0, "bao": 0, "ipni/dhash": 0, "did": 0, "nostr": 0, "ipns": 0,
			"blob": 1, "kv": 1, "queue": 1, "retryafter": 1, "ipni/valuestore": 1,
			"index": 2, "pack": 2, "dag": 2, "ingest": 2, "streamer": 2, "scrub": 2,
			"pipeline": 2, "origin": 2, "outboard": 2, "pin": 2, "naming": 2, "ipni": 2, "access": 2, "dwn": 2,
			"gateway": 3, "fetch": 3, "p2p": 3, "ipni/ipnihttp": 3, "ipni/ipnihttp/wire": 1, "ipni/ipnisync": 3, "routinghttp": 3, "pin/pinhttp": 3, "dwn/dwnhttp": 3, "nostr/nostrws": 3,
			"internal": 4, "cmd": 4,
		},
		PureLayers:  []int{0, 2},
		Impure:      []string{"net/http", "os", "flag", "log"},
		Harmless:    []string{"log/slog"},
		ApartLayers: []int{3},
		Ends:        map[string]string{"fetch": "gateway"},
		Assembly:    4,
		Backends: []string{
			"blob/fsblob", "blob/treeblob", "blob/memblob", "blob/httpblob", "blob/cloudblob",
			"kv/pebblekv", "kv/pgkv", "kv/memkv",
			"queue/memqueue", "queue/natsqueue", "queue/sqsqueue",
			"ipni/valuestore/segstore", "ipni/valuestore/kvstore",
		},
		BackendUsers: []string{"internal/backends", "internal/node"},
		Heavy: []Heavy{
			{
				Modules: []string{"gocloud.dev", "github.com/aws", "cloud.google.com", "github.com/Azure"},
				Homes:   []string{"blob/cloudblob", "queue/sqsqueue"},
			},
			{Modules: []string{"github.com/nats-io"}, Homes: []string{"queue/natsqueue"}},
			{Modules: []string{"github.com/jackc/pgx"}, Homes: []string{"kv/pgkv"}},
			{Modules: []string{"github.com/cockroachdb/pebble"}, Homes: []string{"kv/pebblekv"}},
			{
				Modules: []string{"github.com/libp2p", "github.com/ipfs/boxo/bitswap"}, Homes: []string{"p2p"},
				Except: []string{"github.com/libp2p/go-libp2p/core/crypto", "github.com/libp2p/go-libp2p/core/peer", "github.com/libp2p/go-libp2p/core/record", "github.com/libp2p/go-libp2p/core/internal", "github.com/libp2p/go-buffer-pool"},
			},
			{Modules: []string{"github.com/prometheus", "go.opentelemetry.io"}, Homes: []string{"internal/obs"}},
			{Modules: []string{"github.com/coder/websocket", "github.com/gorilla/websocket", "golang.org/x/net/websocket"}, Homes: []string{"…ws"}},
			{Modules: []string{"github.com/spf13"}, Homes: []string{"internal/cli"}},
			{Modules: []string{"github.com/vbauerster/mpb"}, Homes: []string{"internal/progress"}},
			{Modules: []string{"github.com/knadh/koanf", "github.com/pelletier/go-toml"}, Homes: []string{"internal/config"}},
		},
		Knows: map[string][]string{"gateway": {"accept", "digest", "block", "car", "unixfs", "ipns"}},

		BadNames: []string{"util", "utils", "common", "types", "helper", "helpers", "core", "base", "misc", "shared"},
		EnvUsers: []string{"internal/config", "internal/cli", "internal/servertest", "cmd"},
		PureCalls: []string{
			"errors.New", "fmt.Errorf", "regexp.MustCompile", "base32.NewEncoding", "cid.NewCidV1", "cid.MustParse", "strings.NewReplacer",
			"multihash.Multihash", "byte", "string",
		},
		MaxFile:    400,
		MaxPackage: 1200,
		// What is larger has a limit of its own, to be lowered and not raised: a
		// protocol with all its corners, an index format with its two levels, and a pass
		// over files that is parallel and ordered.
		Sizes: map[string]int{"cmd/hashstream": 15, "gateway": 1800, "index": 1500, "ingest": 1450},
	}
}
