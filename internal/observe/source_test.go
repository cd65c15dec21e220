package observe_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tempestd/internal/observe"
)

// The test reads every Emit in the project, because tests do not reach all of them: a field that
// the catalogue does not name would be missing in docs/operate.md.
func TestEveryEmitKeepsToTheCatalogue(t *testing.T) {
	names := eventsByConstant(t)
	fields := map[observe.Event][]string{}
	for _, d := range observe.Catalogue {
		fields[d.Event] = d.Fields
	}
	set := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			event, args := emission(n)
			if event == "" {
				return true
			}
			known := fields[names[event]]
			for i := 0; i < len(args); i += 2 {
				if key, ok := stringLiteral(args[i]); ok && !slices.Contains(known, key) {
					t.Errorf("%s: %s has no field %q; it has %q", set.Position(n.Pos()), event, key, known)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// eventsByConstant reads events.go and returns the event name of each constant.
func eventsByConstant(t *testing.T) map[string]observe.Event {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "events.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]observe.Event{}
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if value, ok := stringLiteral(spec.Values[0]); ok {
				names[spec.Names[0].Name] = observe.Event(value)
			}
		}
		return true
	})
	if len(names) != len(observe.Catalogue) {
		t.Errorf("%d events have a constant, %d stand in the catalogue", len(names), len(observe.Catalogue))
	}
	return names
}

// emission returns the constant's name and the fields of a call x.Emit(observe.Name, feed,
// fields…). It returns "" for every other node.
func emission(n ast.Node) (event string, args []ast.Expr) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) < 2 {
		return "", nil
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || fun.Sel.Name != "Emit" {
		return "", nil
	}
	name, ok := call.Args[0].(*ast.SelectorExpr)
	if !ok {
		return "", nil
	}
	return name.Sel.Name, call.Args[2:]
}

func stringLiteral(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}
