package gatewaytest

import "strings"

// The DAGs of the fixtures, named after their archives in gateway-conformance.
const (
	ascii = "bafkreifkam6ns4aoolg3wedr4uzrs3kvq66p4pecirz6y2vlrngla62mxm" // ascii.txt
	hello = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4" // hello.txt
	multi = "bafybeigcisqd7m5nf3qmuvjdbakl5bdnh4ocrmacaqkpuh77qjvggmt2sa" // multiblock.txt: 1026 bytes in chunks of 256

	// subdir-with-two-single-block-files: subdir/{ascii.txt,hello.txt}
	two       = "bafybeietjm63oynimmv5yyqay33nui4y4wx6u3peezwetxgiwvfmelutzu"
	twoSubdir = "bafybeiggghzz6dlue3m6nb2dttnbrygxh3lrjl5764f2m4gq7dgzdt55o4"

	// subdir-with-mixed-block-files: subdir/{ascii.txt,hello.txt,multiblock.txt}
	mixed       = "bafybeidh6k2vzukelqtrjsmd4p52cpmltd2ufqrdtdg6yigi73in672fwu"
	mixedSubdir = "bafybeicnmple4ehlz3ostv2sbojz3zhh5q7tz5r2qkfdpqfilgggeen7xm"

	// single-layer-hamt-with-multi-block-files: 1000 names, each of them multiblock.txt
	hamt      = "bafybeidbclfqleg2uojchspzd4bob56dqetqjsj27gy2cq3klkkgxtpn4i"
	hamtOf685 = "bafybeifajm5xyg46n4hjxg7clq2f7vcn7eg7bn3yevylcemr6vd7mp6gta" // the shard that has 685.txt
	hamtOf1   = "bafybeiawjmzmi5c6v5h75nepfpx7jj5ns5t54girned3kilvakmhctxlxy" // the shard that has 1.txt

	// dir-with-dag-cbor-with-links: document is a dag-cbor map, /files/single a link
	cborDir  = "bafybeia264q44a3kmfc2otctzu4egp2k235o3t7mslz2yjraymp4nv6asi"
	document = "bafyreidy4q6mmetut5jzc54ambsfnatbyoujmwbfzyyolqw24majazwgha"

	// dir-with-duplicate-files: ascii-copy.txt, ascii.txt, hello.txt, multiblock.txt
	duplicates = "bafybeihchr7vmgjaasntayyatmp5sv6xza57iy2h4xj7g46bpjij6yhrmy"

	// file-3k-and-3-blocks-missing-block: the middle of its leaves is nowhere
	holed      = "QmYhmPjhFjYFyaoiuNzYv8WGavpSRDwdHWe5B4M5du5Rtk"
	holedFirst = "QmPKt7ptM2ZYSGPUc8PmPT2VBkLDK3iqpG9TBJY7PCE9rF"
	holedHole  = "QmSNLTo6Wv9dfroVaw7MFYjLqf9ho7PKrgsjdzYDtv8h1W"
	holedLast  = "QmWXY482zQdwecnfBsj78poUUuPXvyw2JAFAEMw4tzTavV"

	// gateway-raw-block: dir/ascii.txt
	rawDir  = "bafybeifaqksygmsbnqe76kwvxoqxtkzcwssq5jkhuo65ldtqiunr3bxlra"
	rawFile = "bafkreihhpc5y2pqvl5rbe5uuyhqjouybfs3rvlmisccgzue2kkt5zq6upq"

	rawFileBytes = "hello application/vnd.ipld.raw\n"

	inlineText = "bafkqaf3imvwgy3zaneqgc3janfxgy2lomvscay3jmqfa" // an identity CID
	nowhere    = "bafkreigaknpexyvxt76zgkitavbwx6ejgfheup5oybpm77f3pxzrvwpfdi"
)

// chunks returns the leaves of multi.
func chunks() []string {
	return []string{
		"bafkreie5noke3mb7hqxukzcy73nl23k6lxszxi5w3dtmuwz62wnvkpsscm",
		"bafkreih4ephajybraj6wnxsbwjwa77fukurtpl7oj7t7pfq545duhot7cq",
		"bafkreigu7buvm3cfunb35766dn7tmqyh2um62zcio63en2btvxuybgcpue",
		"bafkreicll3huefkc3qnrzeony7zcfo7cr3nbx64hnxrqzsixpceg332fhe",
		"bafkreifst3pqztuvj57lycamoi7z34b4emf7gawxs74nwrc2c7jncmpaqm",
	}
}

// shards returns the blocks below hamt that are part of the directory itself, in
// depth-first order.
func shards() []string {
	b, err := testdata.ReadFile("testdata/hamt-shards.txt")
	if err != nil {
		panic(err) // it is part of the program
	}
	return strings.Fields(string(b))
}
