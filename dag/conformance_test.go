package dag_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
)

// Blocks of the fixtures of gateway-conformance, group trustless-car.
const (
	twoFiles    = "bafybeietjm63oynimmv5yyqay33nui4y4wx6u3peezwetxgiwvfmelutzu"
	twoFilesSub = "bafybeiggghzz6dlue3m6nb2dttnbrygxh3lrjl5764f2m4gq7dgzdt55o4"
	mixed       = "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"
	mixedSub    = "bafybeicnmple4ehlz3ostv2sbojz3zhh5q7tz5r2qkfdpqfilgggeen7xm"
	duplicates  = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"
	sharded     = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
	shard00     = "bafybeiaebmuestgbpqhkkbrwl2qtjtvs3whkmp2trkbkimuod4yv7oygni"
	shard02     = "bafybeie7jck57xbsv26ovqodjoznly6mt6klbrf5surtlcszo3ijzvmuh4"
	withCBOR    = "bafybeia264q44a3kmfc2otctzu4egp2k235o3t7mslz2yjraymp4nv6asi"
	document    = "bafyreidy4q6mmetut5jzc54ambsfnatbyoujmwbfzyyolqw24majazwgha"
	ascii       = "bafkreifkam6ns4aoolg3wedr4uzrs3kvq66p4pecirz6y2vlrngla62mxm"
	hello       = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"
	multiblock  = "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa" // 1026 bytes: 4 chunks of 256, one of 2
	missing     = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"              // 3 chunks of 1024, without the middle one
	missing0    = "QmPKt7ptM2ZYSGPUc8PmPT2VBkLDK3iqpG9TBJY7PCE9rF"
	missing2    = "QmWXY482zQdwecnfBsj78poUUuPXvyw2JAFAEMw4tzTavV"
	identity    = "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa"
	cborChain   = "bafyreibs4utpgbn7uqegmd2goqz4bkyflre2ek2iwv743fhvylwi4zeeim"
	jsonChain   = "baguqeeram5ujjqrwheyaty3w5gdsmoz6vittchvhk723jjqxk7hakxkd47xq"
)

func chunks() []string {
	return []string{
		"bafkreie5noke3mb7hqxukzcy73nl23k6lxszxi5w3dtmuwz62wnvkpsscm",
		"bafkreih4ephajybraj6wnxsbwjwa77fukurtpl7oj7t7pfq545duhot7cq",
		"bafkreigu7buvm3cfunb35766dn7tmqyh2um62zcio63en2btvxuybgcpue",
		"bafkreicll3huefkc3qnrzeony7zcfo7cr3nbx64hnxrqzsixpceg332fhe",
		"bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm",
	}
}

func multi(chunks ...string) []string { return append([]string{multiblock}, chunks...) }

// walk collects the CIDs that a selection yields.
func walk(t testing.TB, m *memory, sel block.Selection) (cids []string, err error) {
	t.Helper()
	for b, err := range dag.Walk(t.Context(), m, sel) {
		if err != nil {
			return cids, err
		}
		cids = append(cids, b.CID.String())
	}
	return cids, nil
}

// selection parses a root with a path, a scope, and a byte range if there is one.
func selection(t testing.TB, path string, scope block.Scope, bytes string) block.Selection {
	t.Helper()
	segments := strings.Split(path, "/")
	sel := block.Selection{Root: parse(t, segments[0]), Path: segments[1:], Scope: scope, Dups: true}
	if bytes != "" {
		r, err := block.ParseByteRange(bytes)
		if err != nil {
			t.Fatal(err)
		}
		sel.Bytes = r
	}
	return sel
}

func TestConformance(t *testing.T) {
	m := fixtures(t)
	all := chunks()
	for _, tt := range []struct {
		path  string
		scope block.Scope
		bytes string
		want  []string
	}{
		{twoFiles + "/subdir/ascii.txt", "", "", []string{twoFiles, twoFilesSub, ascii}},
		{sharded + "/470.txt", block.ScopeAll, "", append([]string{sharded, shard00}, multi(all...)...)},
		{sharded + "/499.txt", block.ScopeBlock, "", []string{sharded, shard02, multiblock}},
		{document + "/files/single", block.ScopeAll, "", []string{document, hello}},
		{twoFiles + "/subdir", block.ScopeBlock, "", []string{twoFiles, twoFilesSub}},
		{twoFiles + "/subdir/ascii.txt", block.ScopeBlock, "", []string{twoFiles, twoFilesSub, ascii}},
		{twoFiles, block.ScopeEntity, "", []string{twoFiles}},
		{mixed + "/subdir/ascii.txt", block.ScopeEntity, "", []string{mixed, mixedSub, ascii}},
		{mixed + "/subdir/multiblock.txt", block.ScopeEntity, "", append([]string{mixed, mixedSub}, multi(all...)...)},
		{withCBOR + "/document", block.ScopeEntity, "", []string{withCBOR, document}},
		{mixed + "/subdir", block.ScopeAll, "", append([]string{mixed, mixedSub, ascii, hello}, multi(all...)...)},
		{missing, block.ScopeEntity, "0:1000", []string{missing, missing0}},
		{missing, block.ScopeEntity, "2200:*", []string{missing, missing2}},
		{mixed + "/subdir/multiblock.txt", block.ScopeEntity, "0:*", append([]string{mixed, mixedSub}, multi(all...)...)},
		{multiblock, block.ScopeEntity, "512:*", multi(all[2:]...)},
		{multiblock, block.ScopeEntity, "512:1023", multi(all[2:4]...)},
		{multiblock, block.ScopeEntity, "512:-256", multi(all[2:4]...)},
		{multiblock, block.ScopeEntity, "-5:*", multi(all[3:]...)},
		{multiblock, block.ScopeEntity, "-9999:*", multi(all...)},
		{multiblock, block.ScopeEntity, "-9999:-3", multi(all[:4]...)},
		{multiblock, block.ScopeEntity, "0:0", multi(all[0])},
		{multiblock, block.ScopeAll, "1025:1025", multi(all[4])}, // a range implies the entity
		{multiblock, block.ScopeEntity, "256:256", multi(all[1])},
		{multiblock, block.ScopeEntity, "255:256", multi(all[:2]...)},
		{twoFiles, block.ScopeEntity, "0:9", []string{twoFiles}},
		{duplicates, block.ScopeAll, "", append([]string{duplicates, ascii, ascii, hello}, multi(all...)...)},
		{identity, block.ScopeAll, "", nil},
	} {
		got, err := walk(t, m, selection(t, tt.path, tt.scope, tt.bytes))
		if err != nil {
			t.Errorf("%s %s %s: %v", tt.path, tt.scope, tt.bytes, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s %s (-want +got):\n%s", tt.path, tt.scope, tt.bytes, diff)
		}
	}
	once := selection(t, duplicates, block.ScopeAll, "")
	once.Dups = false
	got, err := walk(t, m, once)
	if diff := cmp.Diff(append([]string{duplicates, ascii, hello}, multi(all...)...), got); diff != "" || err != nil {
		t.Errorf("each block once: %v\n%s", err, diff)
	}
}

func TestShardedDirectory(t *testing.T) {
	m := fixtures(t)
	// 1000 files below 236 shards; with or without a range, the entity is the shards.
	for _, bytes := range []string{"", "0:*"} {
		got, err := walk(t, m, selection(t, sharded, block.ScopeEntity, bytes))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 237 || got[0] != sharded || got[1] != shard00 || got[3] != shard02 {
			t.Errorf("entity %q: %d blocks beginning with %v", bytes, len(got), got[:4])
		}
		if slices.Contains(got, multiblock) {
			t.Errorf("entity %q has the files", bytes)
		}
	}
	root, err := block.Get(t.Context(), m, parse(t, sharded))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for l, err := range dag.Entries(t.Context(), m, root) {
		if err != nil {
			t.Fatal(err)
		}
		if l.CID.String() != multiblock {
			t.Errorf("%s is %s", l.Name, l.CID)
		}
		names = append(names, l.Name)
	}
	if len(names) != 1000 || names[0] != "470.txt" || names[1] != "742.txt" {
		t.Errorf("%d entries beginning with %v", len(names), names[:2])
	}
}

func TestResolveFixtures(t *testing.T) {
	m := fixtures(t)
	for path, want := range map[string]any{
		mixed:                               mixed,
		mixed + "/subdir/hello.txt":         hello,
		sharded + "/470.txt":                multiblock,
		sharded + "/absent":                 fs.ErrNotExist,
		twoFiles + "/subdir/absent":         fs.ErrNotExist,
		twoFiles + "/subdir/ascii.txt/more": fs.ErrNotExist,
		twoFiles + "/Links":                 fs.ErrNotExist,
		document + "/files/single":          hello,
		document + "/files":                 block.ErrNotLink,
		document + "/files/absent":          fs.ErrNotExist,
		cborChain + "/foo/link":             "bafyreig5alecq2l2akgajxywgnv22kuxh6xcagsnelepylqovt4t5jxt6u",
		cborChain + "/foo/link/bar":         "bafyreiaefvpp22slf5bzd4lqgzwbztqahwlldtqkpgmlhv7mh23pudle7y",
		cborChain + "/foo/link/bar/hello":   block.ErrNotLink,
		cborChain + "/foo/link/bar/hello/x": block.ErrNotLink,
		jsonChain + "/foo/link/bar":         "baguqeerabz2ohuxlrfgan3sxrgsfeyi5woxikwoiun5i5cesn2zgp3evmy4q",
		jsonChain + "/foo/link/bar/hello":   block.ErrNotLink,
	} {
		segments := strings.Split(path, "/")
		r, err := dag.Resolve(t.Context(), m, parse(t, segments[0]), segments[1:])
		switch want := want.(type) {
		case error:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, %v; want %v", path, r.Terminus, err, want)
			}
			if len(r.Visited) == 0 {
				t.Errorf("%s: the blocks that prove it are missing", path)
			}
		case string:
			if err != nil || r.Terminus.String() != want {
				t.Errorf("%s: %v, %v; want %s", path, r.Terminus, err, want)
			}
		}
	}
}
