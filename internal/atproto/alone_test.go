package atproto_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tempestd/internal/atproto"
)

// What this package has is spelled nowhere else: two copies of a value do not stay the same.
func TestTheConstantsStandHereAlone(t *testing.T) {
	once := []string{atproto.SubscribePath, atproto.EventsPath, atproto.DictionaryPath, atproto.Subprotocol, atproto.EventType, atproto.DictionaryHeader,
		atproto.OutdatedCursor, atproto.FutureCursor, atproto.OptionsUpdate, atproto.UnknownDictionary, atproto.DictionaryNotFound, atproto.CursorTooOld, atproto.ConsumerTooSlow}
	numbers := []int64{atproto.FirstTime, atproto.DictionaryV1}
	const root = "../.."
	files := 0
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == filepath.Join(root, "internal/atproto") || strings.HasPrefix(d.Name(), ".") && name != root):
			return filepath.SkipDir
		case d.IsDir() && name == filepath.Join(root, "integration"): // the legacy server's own main, and black-box tests
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			text, _ := strconv.Unquote(literal.Value)
			for _, s := range once {
				if text == s || literal.Kind == token.STRING && s == atproto.EventType && strings.Contains(text, s) {
					t.Errorf("%s: %q is atproto's", set.Position(literal.Pos()), s)
				}
			}
			if n, err := strconv.ParseInt(literal.Value, 0, 64); err == nil {
				for _, one := range numbers {
					if n == one {
						t.Errorf("%s: %d is atproto's", set.Position(literal.Pos()), n)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files were read: %v", files, err)
	}
}
