package beside_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unguarded lists the files of the daemon that start a goroutine without Do or a Crew, and the
// reason why a panic in it does no harm.
var unguarded = map[string]string{
	"actors/task.go":                    "calls Do",
	"internal/beside/crew.go":           "calls Do",
	"internal/archive/price.go":         "calls Do",
	"internal/archive/pass.go":          "calls Do",
	"internal/backfill/socket.go":       "calls Do",
	"internal/jetstream/conn.go":        "closes a network connection",
	"cmd/tempestd/main.go":              "waits for signals",
	"persistence/embedded/store.go":     "calls Do",
	"persistence/embedded/scan.go":      "no goroutine: the method of a walk",
	"persistence/embedded/recover.go":   "no goroutine: the method of a walk",
	"persistence/embedded/segments.go":  "no goroutine: the method of a walk",
	"persistence/valkey/hub.go":         "calls Do",
	"persistence/valkey/link.go":        "recovers by itself",
	"persistence/internal/wake/wake.go": "closes channels",
}

// noDaemon lists the trees that are no part of a daemon.
var noDaemon = []string{"integration", "internal/atsim", "internal/demo", "internal/jetsim", "internal/loopdisk", "internal/oracle", "internal/valkeysim", "internal/valkeytest", "persistence/streamtest", "cmd/tempestd/demo.go", "cmd/tempestd/simulate.go"}

// A panic in a goroutine that is started in another way would end every feed.
func TestEveryGoroutineOfTheDaemonIsGuarded(t *testing.T) {
	set := token.NewFileSet()
	seen := 0
	err := filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel("../..", path)
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			slices.ContainsFunc(noDaemon, func(tree string) bool { return name == tree || strings.HasPrefix(name, tree+"/") }) {
			return err
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		seen++
		ast.Inspect(file, func(n ast.Node) bool {
			what := ""
			switch n := n.(type) {
			case *ast.GoStmt:
				what = "a go statement"
			case *ast.CallExpr:
				if fun, ok := n.Fun.(*ast.SelectorExpr); ok {
					switch {
					case fun.Sel.Name == "Go":
						what = "a call of Go"
					case fun.Sel.Name == "AfterFunc" && len(n.Args) == 2 && !cancels(n.Args[1]):
						what = "a call of AfterFunc that does more than to end a context or to send a message"
					}
				}
			}
			if _, known := unguarded[name]; what != "" && !known {
				t.Errorf("%s: %s; what goes on beside something is a Task's or a Crew's", set.Position(n.Pos()), what)
			}
			return true
		})
		return nil
	})
	if err != nil || seen < 50 {
		t.Fatal(seen, err)
	}
}

// cancels reports whether a function does nothing that could panic: its name says that it ends a
// context, or it is a literal that only calls such a function or only sends an actor a message.
func cancels(do ast.Expr) bool {
	switch do := do.(type) {
	case *ast.Ident:
		return do.Name == "cancel"
	case *ast.SelectorExpr:
		return do.Sel.Name == "Cut"
	case *ast.FuncLit:
		if len(do.Body.List) != 1 {
			return false
		}
		statement, ok := do.Body.List[0].(*ast.ExprStmt)
		if !ok {
			return false
		}
		call, ok := statement.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		switch fun := call.Fun.(type) {
		case *ast.Ident:
			return fun.Name == "end" || fun.Name == "cancel"
		case *ast.SelectorExpr:
			return fun.Sel.Name == "Send"
		}
	}
	return false
}
