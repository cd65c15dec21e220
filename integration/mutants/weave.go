package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Building a package anew for each mutant would take most of the time. So all mutants are woven into
// one copy of the source, where the environment chooses one of them when a test begins:
//
//   - Of a function with a mutant there is a second version. The first one begins by calling it if
//     the mutant is chosen.
//   - A string of a package, such as a script, is chosen among its versions when the program begins.

// variable is the environment variable that chooses a mutant.
const variable = "TEMPESTD_MUTANT"

// errWeave says that a patch changes something else than one function or one string.
var errWeave = errors.New("it changes something else than one function or one string of a package, or a function with a parameter without a name")

// edit replaces a part of a file.
type edit struct {
	from, to int
	text     string
}

// weave puts the mutants into the copy of the source in dir.
func weave(ctx context.Context, dir string, all []mutant) error {
	files := make(map[string][]mutant)
	for _, m := range all {
		name, err := m.file()
		if err != nil {
			return err
		}
		files[name] = append(files[name], m)
	}
	packages := make(map[string]string)
	var failed error
	for name, mutants := range files {
		before, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		var edits []edit
		for _, m := range mutants {
			after, err := m.apply(ctx, name, before)
			if err == nil {
				edits, err = m.weave(edits, before, after)
			}
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", m.name, err))
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), merge(before, edits), 0o644); err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, before, parser.PackageClauseOnly)
		if err != nil {
			return err
		}
		packages[filepath.Dir(name)] = file.Name.Name
	}
	if failed != nil {
		return failed
	}
	for pkg, name := range packages {
		chooser := fmt.Sprintf(`package %s

import "os"

var mutantChosen = os.Getenv(%q)

func mutantText(text, mutant, changed string) string {
	if mutantChosen == mutant {
		return changed
	}
	return text
}
`, name, variable)
		if err := os.WriteFile(filepath.Join(dir, pkg, "mutant_chosen.go"), []byte(chooser), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// file is the one file that the patch changes.
func (m mutant) file() (string, error) {
	text, err := os.ReadFile(m.patch)
	if err != nil {
		return "", err
	}
	name := ""
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(line, "+++ b/"); ok {
			if name != "" {
				return "", fmt.Errorf("%s: %w", m.name, errWeave)
			}
			name = strings.TrimSpace(path)
		}
	}
	return name, nil
}

// apply returns the file as the patch makes it.
func (m mutant) apply(ctx context.Context, name string, before []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, before, 0o644); err != nil {
		return nil, err
	}
	patch, err := filepath.Abs(m.patch)
	if err != nil {
		return nil, err
	}
	apply := exec.CommandContext(ctx, "git", "apply", patch)
	apply.Dir = dir
	if out, err := apply.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the patch does not apply: %w: %s", err, bytes.TrimSpace(out))
	}
	return os.ReadFile(path)
}

// weave adds what the file needs for the mutant.
func (m mutant) weave(edits []edit, before, after []byte) ([]edit, error) {
	old, err := parse(before)
	if err != nil {
		return nil, err
	}
	changed, err := parse(after)
	if err != nil {
		return nil, err
	}
	if len(old.funcs) != len(changed.funcs) {
		return nil, errWeave
	}
	if at := firstDifference(old.funcs, changed.funcs); at >= 0 {
		return old.second(edits, changed, at, m.name)
	}
	at := firstDifference(old.texts, changed.texts)
	if at < 0 || len(old.texts) != len(changed.texts) {
		return nil, errWeave
	}
	return old.choice(edits, changed, at, m.name), nil
}

func firstDifference(a, b []part) int {
	for i := range min(len(a), len(b)) {
		if a[i].text != b[i].text {
			return i
		}
	}
	return -1
}

// part is a function, or a string outside of functions.
type part struct {
	from, to int // in the file
	text     string
	decl     *ast.FuncDecl // nil for a string
}

type source struct {
	text   []byte
	base   token.Pos
	funcs  []part
	texts  []part
	consts map[int]int // the place of the word "const" before a string, by the string's
}

func parse(text []byte) (*source, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	s := &source{text: text, base: token.Pos(set.File(file.Pos()).Base()), consts: make(map[int]int)}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			p := s.part(f)
			p.decl = f
			s.funcs = append(s.funcs, p)
			continue
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
				p := s.part(text)
				s.texts = append(s.texts, p)
				if group, ok := d.(*ast.GenDecl); ok && group.Tok == token.CONST {
					s.consts[p.from] = s.at(group.Pos())
				}
			}
			return true
		})
	}
	return s, nil
}

func (s *source) at(p token.Pos) int { return int(p - s.base) }

func (s *source) part(n ast.Node) part {
	p := part{from: s.at(n.Pos()), to: s.at(n.End())}
	p.text = string(s.text[p.from:p.to])
	return p
}

// second adds the second version of a function behind the file, and its call.
func (s *source) second(edits []edit, changed *source, i int, mutant string) ([]edit, error) {
	f := s.funcs[i].decl
	args, named := arguments(f.Type.Params)
	target := ""
	if f.Recv != nil {
		receiver, ok := arguments(f.Recv)
		named = named && ok
		target = strings.Join(receiver, "") + "."
	}
	if !named || f.Type.TypeParams != nil {
		return nil, errWeave
	}
	name := f.Name.Name + "Mutant" + strings.ReplaceAll(mutant, "-", "_")
	call := fmt.Sprintf("%s%s(%s)", target, name, strings.Join(args, ", "))
	if f.Type.Results != nil {
		call = "return " + call
	} else {
		call += "\n\t\treturn"
	}
	begin := s.at(f.Body.Lbrace) + 1
	edits = append(edits, edit{begin, begin, fmt.Sprintf("\n\tif mutantChosen == %q {\n\t\t%s\n\t}\n", mutant, call)})
	c := changed.funcs[i]
	at := changed.at(c.decl.Name.Pos()) - c.from
	version := c.text[:at] + name + c.text[at+len(c.decl.Name.Name):]
	return append(edits, edit{len(s.text), len(s.text), "\n" + version + "\n"}), nil
}

// arguments returns the names of parameters as they are passed on. named is false if one has none.
func arguments(list *ast.FieldList) (names []string, named bool) {
	for _, field := range list.List {
		_, variadic := field.Type.(*ast.Ellipsis)
		if len(field.Names) == 0 {
			return nil, false
		}
		for _, name := range field.Names {
			if name.Name == "_" {
				return nil, false
			}
			if variadic {
				names = append(names, name.Name+"...")
			} else {
				names = append(names, name.Name)
			}
		}
	}
	return names, true
}

// choice makes a string the choice between its versions.
func (s *source) choice(edits []edit, changed *source, i int, mutant string) []edit {
	p := s.texts[i]
	if at, ok := s.consts[p.from]; ok && !slices.ContainsFunc(edits, func(e edit) bool { return e.from == at && e.to > at }) {
		edits = append(edits, edit{at, at + len("const"), "var"})
	}
	return append(edits, edit{p.from, p.from, "mutantText("},
		edit{p.to, p.to, ", " + strconv.Quote(mutant) + ", " + changed.texts[i].text + ")"})
}

// merge makes the edits. Those at the same place keep their order.
func merge(text []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(a, b edit) int { return a.from - b.from })
	var out []byte
	at := 0
	for _, e := range edits {
		out = append(append(out, text[at:e.from]...), e.text...)
		at = e.to
	}
	return append(out, text[at:]...)
}
