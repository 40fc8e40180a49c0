package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxProblems bounds the unknown keys that are named at once, for a file that is
// something else altogether.
const maxProblems = 20

// parse reads the settings of a file named name for messages.
func parse(name string, data []byte) ([]setting, error) {
	var document map[string]any
	if err := toml.Unmarshal(data, &document); err != nil {
		return nil, syntaxError(name, err)
	}
	lines := keyLines(data)
	at := func(key string) string {
		if line := lines[key]; line > 0 {
			return fmt.Sprintf("%s:%d", name, line)
		}
		return name
	}
	var settings []setting
	var problems []error
	keys := Keys()
	for _, s := range flatten(document) {
		origin := at(s.key)
		if !slices.Contains(keys, s.key) {
			problems = append(problems, unknown(origin, "key", s.key, keys))
			if len(problems) == maxProblems {
				break
			}
			continue
		}
		settings = append(settings, setting{s.key, s.value, origin})
	}
	return settings, errors.Join(problems...)
}

func syntaxError(name string, err error) error {
	if d, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := d.Position()
		return fmt.Errorf("config: %s:%d:%d: %s (%w)", name, row, column, strings.TrimPrefix(d.Error(), "toml: "), ErrInvalid)
	}
	return fmt.Errorf("config: %s: %w (%w)", name, err, ErrInvalid)
}

// flatten lists the keys of a document two levels deep, in order. What is deeper
// or not in a section comes out with its own name and so is unknown.
func flatten(document map[string]any) []setting {
	var out []setting
	for _, section := range slices.Sorted(maps.Keys(document)) {
		table, ok := document[section].(map[string]any)
		if !ok || len(table) == 0 && !isSection(section) {
			out = append(out, setting{key: section})
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(table)) {
			out = append(out, setting{key: section + "." + key, value: table[key]})
		}
	}
	return out
}

func isSection(name string) bool {
	return slices.ContainsFunc(Keys(), func(key string) bool { return strings.HasPrefix(key, name+".") })
}

// keyLines returns the line of each key of a well-formed document.
func keyLines(data []byte) map[string]int {
	f := liner{lines: map[string]int{}, line: 1}
	f.p.Reset(data)
	section := ""
	for f.p.NextExpression() {
		node := f.p.Expression()
		switch name, line := f.key(node); node.Kind {
		case unstable.Table, unstable.ArrayTable:
			section = name + "."
			f.lines[name] = line
		case unstable.KeyValue:
			f.mark(section+name, line, node.Value())
		}
	}
	return f.lines
}

// liner finds the lines of keys, which come in the order of the document.
type liner struct {
	p            unstable.Parser
	lines        map[string]int
	offset, line int // the line at an offset
}

// mark records key and, below an inline table, the keys in it.
func (f *liner) mark(key string, line int, value *unstable.Node) {
	f.lines[key] = line
	if section, _, ok := strings.Cut(key, "."); ok && f.lines[section] == 0 {
		f.lines[section] = line
	}
	if value.Kind != unstable.InlineTable {
		return
	}
	for children := value.Children(); children.Next(); {
		name, line := f.key(children.Node())
		f.mark(key+"."+name, line, children.Node().Value())
	}
}

// key returns the dotted name of a table or value and its line.
func (f *liner) key(node *unstable.Node) (name string, line int) {
	var parts []string
	for key := node.Key(); key.Next(); {
		n := key.Node()
		if at := int(n.Raw.Offset); at > f.offset {
			f.line += bytes.Count(f.p.Data()[f.offset:at], []byte("\n"))
			f.offset = at
		}
		parts = append(parts, string(n.Data))
	}
	return strings.Join(parts, "."), f.line
}

// reserved variables have the prefix but are no keys.
var reserved = []string{"HASHSTREAM_HOME", "HASHSTREAM_CONFIG"}

// serviceVariable matches what Kubernetes sets in every container for a service
// whose name begins with hashstream. Those are not meant for us.
var serviceVariable = regexp.MustCompile(
	`^HASHSTREAM_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// fromEnviron reads the variables HASHSTREAM_SECTION_KEY. Those that begin with
// HASHSTREAM_TEST_ belong to tests.
func fromEnviron(environ []string) ([]setting, error) {
	keys := map[string]string{}
	for _, key := range Keys() {
		keys[Variable(key)] = key
	}
	var settings []setting
	var problems []error
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		switch key, ok := keys[name]; {
		case ok:
			settings = append(settings, setting{key, value, name})
		case !strings.HasPrefix(name, "HASHSTREAM_"), strings.HasPrefix(name, "HASHSTREAM_TEST_"),
			slices.Contains(reserved, name), serviceVariable.MatchString(name):
		default:
			names := slices.Sorted(maps.Keys(keys))
			problems = append(problems, unknown("environment", "variable", name, append(names, reserved...)))
		}
	}
	return settings, errors.Join(problems...)
}

func fromOverrides(overrides map[string]string) ([]setting, error) {
	var settings []setting
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(overrides)) {
		if !slices.Contains(Keys(), key) {
			problems = append(problems, unknown("command line", "key", key, Keys()))
			continue
		}
		settings = append(settings, setting{key, overrides[key], "command line"})
	}
	return settings, errors.Join(problems...)
}
