package config

import (
	"bytes"
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// entry is one "key = value" or one table header of a document. An inline table becomes a header
// and an entry for each of its keys.
type entry struct {
	path  []string
	line  int
	table bool  // a header: it names a table and has no value
	array bool  // a header in double brackets
	value value // of an entry that is no table header
}

// value is a TOML value.
type value struct {
	kind unstable.Kind
	text string // the text of a string, with its variables replaced; the source text of any other scalar
	// written is the text as it was written, if it has variables. An error shows this text, because
	// the environment may hold secrets (I10).
	written string
	line    int
	items   []value // the items of an array
}

// String describes the value for an error message. It does not repeat text that may be a secret.
func (v value) String() string {
	switch v.kind {
	case unstable.String:
		return Shown(cmp.Or(v.written, v.text))
	case unstable.Integer, unstable.Float:
		if !plainNumber.MatchString(v.text) {
			return "a bare number"
		}
		return "the bare number " + v.text
	case unstable.Array:
		return "an array"
	case unstable.InlineTable:
		return "a table"
	case unstable.LocalDate, unstable.LocalTime, unstable.LocalDateTime, unstable.DateTime:
		return "the date or time " + v.text
	}
	return v.text // true or false
}

// syntaxError is a place where the document is not valid TOML.
type syntaxError struct {
	line    int
	key     string // the key that the line seems to set, "" if unknown
	message string
}

// maxSyntaxErrors is the number of syntax errors after which reading stops: the file is probably
// not a configuration.
const maxSyntaxErrors = 20

// resumable matches a line at which reading can continue after a syntax error: a table header, or a
// key and an equals sign.
var resumable = regexp.MustCompile(`^[ \t]*(\[{1,2}[ \t]*[A-Za-z0-9_-][^\]]*\]{1,2}[ \t]*(#.*)?\r?$|[A-Za-z0-9_-][A-Za-z0-9_."'-]*[ \t]*=)`)

// parseDocument reads a whole document. After a syntax error it continues at the next line that
// looks like a table header or a key, so that one mistake does not hide the others.
func parseDocument(data []byte) (entries []entry, bad []syntaxError) {
	d := document{data: data, starts: lineStarts(data)}
	var table []string
	for from := 0; from < len(data) && len(bad) < maxSyntaxErrors; {
		// The parser derives an offset from the capacity of a slice, so the capacity of its input
		// must equal its length.
		part := slices.Clip(slices.Clone(data[from:]))
		d.base, d.parser = from, unstable.Parser{}
		d.parser.Reset(part)
		for d.parser.NextExpression() {
			node := d.parser.Expression()
			path, line := d.key(node)
			if node.Kind == unstable.KeyValue {
				d.flatten(slices.Concat(table, path), line, node.Value())
				continue
			}
			table = path
			d.entries = append(d.entries, entry{path: path, line: line, table: true, array: node.Kind == unstable.ArrayTable})
		}
		err := d.parser.Error()
		if err == nil {
			break
		}
		at := d.errorOffset(err)
		line := d.lineAt(at)
		bad = append(bad, syntaxError{line: line, key: d.keyOnLine(table, line), message: err.Error()})
		from = d.nextBeginning(line)
	}
	return d.entries, bad
}

// strictErrors finds the errors that a single entry does not show, such as a key that extends an
// inline table. It reports only the first.
func strictErrors(data []byte) []syntaxError {
	var all map[string]any
	err := toml.Unmarshal(data, &all)
	if err == nil {
		return nil
	}
	var where *toml.DecodeError
	if !errors.As(err, &where) {
		return []syntaxError{{line: 1, message: "it contradicts itself"}}
	}
	// The text of the error repeats keys and values, so it is not used.
	line, _ := where.Position()
	return []syntaxError{{line: line, key: showPath(where.Key()), message: "this key contradicts what stands before it"}}
}

type document struct {
	data    []byte
	starts  []int // the offset of each line
	base    int   // the offset in data at which the parser began
	parser  unstable.Parser
	entries []entry
}

func lineStarts(data []byte) []int {
	starts := []int{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// lineAt returns the 1-based line of an offset.
func (d *document) lineAt(offset int) int {
	i, found := slices.BinarySearch(d.starts, offset)
	if found {
		return i + 1
	}
	return i
}

// line returns the line of a node. It returns otherwise for a node to which the parser gives no
// position.
func (d *document) line(n *unstable.Node, otherwise int) int {
	if n.Raw.Length == 0 {
		return otherwise
	}
	return d.lineAt(d.base + int(n.Raw.Offset))
}

// key returns the dotted key of a table header or of a key-value pair, and its line.
func (d *document) key(n *unstable.Node) (path []string, line int) {
	for it := n.Key(); it.Next(); {
		path = append(path, string(it.Node().Data))
		line = cmp.Or(line, d.line(it.Node(), 0))
	}
	return path, line
}

func (d *document) flatten(path []string, line int, n *unstable.Node) {
	if n.Kind != unstable.InlineTable {
		d.entries = append(d.entries, entry{path: path, line: line, value: d.value(n, line)})
		return
	}
	d.entries = append(d.entries, entry{path: path, line: line, table: true})
	for it := n.Children(); it.Next(); {
		if child := it.Node(); child.Kind == unstable.KeyValue {
			sub, at := d.key(child)
			d.flatten(slices.Concat(path, sub), at, child.Value())
		}
	}
}

func (d *document) value(n *unstable.Node, line int) value {
	v := value{kind: n.Kind, text: string(n.Data), line: d.line(n, line)}
	if n.Kind == unstable.Array {
		for it := n.Children(); it.Next(); {
			v.items = append(v.items, d.value(it.Node(), v.line))
		}
	}
	return v
}

// errorOffset returns the offset in the document of a parser error.
func (d *document) errorOffset(err error) int {
	var perr *unstable.ParserError
	if errors.As(err, &perr) && len(perr.Highlight) > 0 {
		return d.base + int(d.parser.Range(perr.Highlight).Offset)
	}
	return len(d.data)
}

// lineText returns a line without its line break.
func (d *document) lineText(line int) []byte {
	if line < 1 || line > len(d.starts) {
		return nil
	}
	text, _, _ := bytes.Cut(d.data[d.starts[line-1]:], []byte("\n"))
	return text
}

// keyOnLine guesses the key that an invalid line was meant to set.
func (d *document) keyOnLine(table []string, line int) string {
	before, _, found := bytes.Cut(d.lineText(line), []byte("="))
	name := strings.TrimSpace(string(before))
	if !found || name == "" || strings.ContainsAny(name, " \t#[{\"'") {
		return ""
	}
	return showPath(append(slices.Clone(table), name))
}

// nextBeginning returns the offset of the first line after the given one at which reading can
// continue.
func (d *document) nextBeginning(line int) int {
	for ; line < len(d.starts); line++ {
		if resumable.Match(d.lineText(line + 1)) {
			return d.starts[line]
		}
	}
	return len(d.data)
}
