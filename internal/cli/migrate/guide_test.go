package migrate_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"
	carindex "github.com/ipld/go-car/v2/index"
	"github.com/multiformats/go-multicodec"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index/sharded"
	"github.com/hashstream/hashstream/internal/cli"
	"github.com/hashstream/hashstream/internal/servertest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hashstream": func() {
		os.Exit(cli.Run(context.Background(), os.Args[1:], cli.System()))
	}})
}

const (
	guide   = "../../../docs/guides/migrate.md"
	fixture = "../../../index/jsstore/testdata/js-store.tar.gz"
	root    = "bafybeih46ueeqaytwe34cs4kgxmhzisups6ld7md23mv3ddino7y5o57h4"
)

// section is the blocks of one section of the guide that stand after the same mark.
type section struct {
	title, mark string
	commands    []command
}

type command struct{ line, want string }

var (
	mark  = regexp.MustCompile(`^<!-- (run.*) -->$`)
	title = regexp.MustCompile(`^## (.*)$`)
)

func sections(t *testing.T) (all []*section) {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	var heading, armed string
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if m := title.FindStringSubmatch(line); m != nil {
			heading = m[1]
		}
		switch {
		case inside && line == "```":
			inside, armed = false, ""
		case inside:
			s := all[len(all)-1]
			if cmd, ok := strings.CutPrefix(line, "$ "); ok {
				s.commands = append(s.commands, command{line: cmd})
			} else {
				s.commands[len(s.commands)-1].want += line + "\n"
			}
		case line == "```console" && armed != "":
			inside = true
			if len(all) == 0 || all[len(all)-1].title != heading {
				all = append(all, &section{title: heading, mark: armed})
			}
		case line != "":
			if armed = ""; mark.MatchString(line) {
				armed = mark.FindStringSubmatch(line)[1]
			}
		}
	}
	return all
}

// TestGuide runs the commands of docs/guides/migrate.md.
func TestGuide(t *testing.T) {
	all := sections(t)
	if len(all) != 6 {
		t.Fatalf("%d sections have commands", len(all))
	}
	for _, s := range all {
		t.Run(s.title, func(t *testing.T) {
			srv, err := os.MkdirTemp("", "guide") // without the test's name, which a shell would take apart
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(srv) })
			objects := unpack(t, srv)
			env := []string{"HASHSTREAM_HOME=" + filepath.Join(srv, ".home")}
			replace := []string{"/srv", srv}
			switch s.mark {
			case "run":
			case "run with s3":
				name, access := bucket(t, objects)
				env = append(env, access...)
				replace = append(replace, "s3://bucket/", "s3://"+name+"/")
			case "run with web":
				web := httptest.NewServer(http.FileServer(http.Dir(srv)))
				t.Cleanup(web.Close)
				replace = append(replace, "http://127.0.0.1:8000", web.URL)
			default:
				t.Fatalf("unknown mark %q", s.mark)
			}
			s.run(t, filepath.Join(srv, "work"), env, strings.NewReplacer(replace...))
		})
	}
}

// run runs the commands of a section in one shell and compares what each prints.
func (s *section) run(t *testing.T, dir string, env []string, in *strings.Replacer) {
	t.Helper()
	var script strings.Builder
	for _, c := range s.commands {
		fmt.Fprintf(&script, "{ %s\n} >out 2>err </dev/null || { cat out err; exit 1; }\ncat out err; printf '\\001'\n", in.Replace(c.line))
	}
	cmd := exec.Command("bash", "-o", "pipefail", "-c", script.String())
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "HASHSTREAM_") }), env...)
	out, err := cmd.CombinedOutput()
	got := strings.Split(string(out), "\x01")
	for i, c := range s.commands {
		if i >= len(got)-1 {
			t.Fatalf("$ %s\n%s%v", c.line, got[len(got)-1], err)
		}
		if pattern := wildcard(in.Replace(c.want)); !pattern.MatchString(got[i]) {
			t.Errorf("$ %s\nprints\n%sand the guide says\n%s", c.line, got[i], c.want)
		}
	}
}

// wildcard makes a pattern of what a guide shows: a line "…" is any lines, another "…" anything
// in its line.
func wildcard(want string) *regexp.Regexp {
	p := regexp.QuoteMeta(want)
	p = strings.ReplaceAll(p, "\n…\n", "\n(?:.*\n)*")
	if rest, ok := strings.CutPrefix(p, "…\n"); ok {
		p = "(?:.*\n)*" + rest
	}
	return regexp.MustCompile(`\A` + strings.ReplaceAll(p, "…", ".*") + `\z`)
}

// unpack makes what the guide finds under /srv, and returns the objects of a bucket.
func unpack(t *testing.T, srv string) map[string][]byte {
	t.Helper()
	objects := map[string][]byte{}
	for name, data := range archived(t) {
		dir, rest, _ := strings.Cut(name, "/")
		switch dir {
		case "disk-multiple":
			write(t, srv, "hash-stream/"+rest, data)
		case "disk-single":
			if pack, ok := strings.CutPrefix(rest, "packs/"); ok {
				write(t, srv, "hash-stream/pack/"+pack, data)
			}
		case "files":
			write(t, srv, name, data)
		case "s3-multiple":
			objects[rest] = data
		}
	}
	whole := archive(t, filepath.Join(srv, "hash-stream/pack"))
	write(t, srv, "cars/one.car", whole)
	x, err := carindex.New(multicodec.CarMultihashIndexSorted)
	if err == nil {
		err = gocar.LoadIndex(x, bytes.NewReader(whole))
	}
	var idx bytes.Buffer
	if err == nil {
		_, err = carindex.WriteTo(x, &idx)
	}
	if err != nil {
		t.Fatal(err)
	}
	write(t, srv, "cars/one.car.idx", idx.Bytes())
	two, err := filepath.Glob(filepath.Join(srv, "hash-stream/pack/bafkreihspdu26i7wkprnr2bgctmjo3a5frplhvkdde3o5yp7cnhca74wj4.car"))
	if err != nil || len(two) != 1 {
		t.Fatal(two, err)
	}
	data, err := os.ReadFile(two[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, srv, "cars/two.car", data)
	write(t, srv, "work/photos.car", whole)
	write(t, srv, "upload.index.car", shards(t, filepath.Join(srv, "hash-stream/pack")))
	return objects
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	name = filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// archived is the files of the fixture.
func archived(t *testing.T) map[string][]byte {
	t.Helper()
	file, err := os.Open(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err == nil && h.Typeflag == tar.TypeReg {
			all[h.Name], err = io.ReadAll(r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// eachSection calls f with the blocks of the packs of the fixture's large file.
func eachSection(t *testing.T, dir string, f func(pack digest.Digest, s car.Section, b block.Block)) {
	t.Helper()
	for _, name := range []string{
		"bafkreibcgb35n7o4exofkpjzlpzjqsfp74gtyubfumsrj5duo37zzwbo3u",
		"bafkreiaqmjgpcreloif2zqrkwavxlc54xxc2dz6mido2pohy4auir3yxxy",
		"bafkreihlhc3b6ci73jxbp6jes63vsqlmoyqvs4w5dkkykokhrq33w3mdaa",
	} {
		pack, err := digest.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(filepath.Join(dir, name+".car"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := car.NewReader(file, nil)
		for err == nil {
			var s car.Section
			if s, err = r.Next(); err == nil {
				var data []byte
				data, err = r.Data()
				f(pack, s, block.Block{CID: s.CID, Data: data})
			}
		}
		file.Close()
		if err != io.EOF {
			t.Fatal(err)
		}
	}
}

// archive is the CAR of the large file as other programs write it.
func archive(t *testing.T, packs string) []byte {
	b := car.AppendHeader(nil, cid.MustParse(root))
	eachSection(t, packs, func(_ digest.Digest, s car.Section, x block.Block) {
		b = append(car.AppendHead(b, s.CID, s.Size), x.Data...)
	})
	return b
}

// shards is the sharded index of the large file.
func shards(t *testing.T, packs string) []byte {
	t.Helper()
	x := sharded.Index{Content: cid.MustParse(root)}
	eachSection(t, packs, func(pack digest.Digest, s car.Section, _ block.Block) {
		if n := len(x.Shards); n == 0 || x.Shards[n-1].Digest != pack {
			x.Shards = append(x.Shards, sharded.Shard{Digest: pack})
		}
		d, err := digest.FromCID(s.CID)
		if err != nil {
			t.Fatal(err)
		}
		last := &x.Shards[len(x.Shards)-1]
		last.Slices = append(last.Slices, sharded.Slice{Digest: d, Offset: s.Offset, Length: s.Size})
	})
	b, err := sharded.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// bucket puts objects into a bucket of a real server. It returns the bucket's name, and what the
// commands need to reach it.
func bucket(t *testing.T, objects map[string][]byte) (name string, env []string) {
	t.Helper()
	u, err := url.Parse(servertest.URL(t, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	name, endpoint := "t-"+strings.ToLower(rand.Text()), "http://"+u.Host
	client := s3.New(s3.Options{
		Region: "us-east-1", UsePathStyle: true, BaseEndpoint: &endpoint,
		Credentials: credentials.NewStaticCredentialsProvider(u.User.Username(), secret, ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatal(err)
	}
	for key, data := range objects {
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &name, Key: &key, Body: bytes.NewReader(data)}); err != nil {
			t.Fatal(err)
		}
	}
	query := url.Values{"region": {"us-east-1"}, "use_path_style": {"true"}, "endpoint": {endpoint}}
	return name, []string{"AWS_ACCESS_KEY_ID=" + u.User.Username(), "AWS_SECRET_ACCESS_KEY=" + secret, "S3=" + query.Encode()}
}
