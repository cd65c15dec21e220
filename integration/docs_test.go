package integration_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"

	"tempestd/internal/observe"
	"tempestd/internal/serve"
	"tempestd/messages"
)

// page reads a file of the repository.
func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages are the Markdown files that readers are shown.
func pages(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		found, err := fs.Glob(os.DirFS(".."), pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	if len(names) < 15 {
		t.Fatalf("only %q are there", names)
	}
	return names
}

// A reader has five minutes.
func TestReadmeIsShort(t *testing.T) {
	if n := len(strings.Fields(page(t, "README.md"))); n >= 900 {
		t.Errorf("README.md has %d words, want fewer than 900: move what is a reference to docs/", n)
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	code    = regexp.MustCompile("`[^`\n]*`")
	linked  = regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset|href)="([^"]+)"`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noSlug  = regexp.MustCompile(`[^\pL\pN _-]`)
)

// Every relative link of a page leads to a file that is there, and to a heading that it has.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, name := range pages(t) {
		text := code.ReplaceAllString(fence.ReplaceAllString(page(t, name), ""), "")
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			link := m[1] + m[2]
			if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(link, "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join("..", target)); err != nil {
				t.Errorf("%s links to %s: %v", name, link, err)
			} else if anchor != "" && !slices.Contains(anchors(page(t, target)), anchor) {
				t.Errorf("%s links to %s: %s has no such heading", name, link, target)
			}
		}
	}
}

// anchors are the names that hosts of Markdown give to a page's headings.
func anchors(text string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		names = append(names, strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return names
}

// What docs/design.md calls by the name of a function, `pkg.Func()` or `type.method()`, is one.
func TestDesignNamesFunctionsThatExist(t *testing.T) {
	there := functions(t)
	named := regexp.MustCompile("`([a-zA-Z]+\\.[a-zA-Z]+)\\(\\)`").FindAllStringSubmatch(page(t, "docs/design.md"), -1)
	if len(named) < 30 {
		t.Fatalf("the page names only %d functions", len(named))
	}
	for _, m := range named {
		if !there[m[1]] {
			t.Errorf("docs/design.md names %s, which is in no source", m[1])
		}
	}
}

// functions are all of the project's, as pkg.Func or Type.Method.
func functions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && name != "..":
			return filepath.SkipDir
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				found[ownerOf(f, file.Name.Name)+"."+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// ownerOf is a method's type, or the package.
func ownerOf(f *ast.FuncDecl, pkg string) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return pkg
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if name, ok := typ.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// description is docs/openapi.json.
type description struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components struct{ Schemas map[string]*schema }
}

// schema is the part of JSON Schema that the description uses.
type schema struct {
	Ref                  string `json:"$ref"`
	Type                 any
	Properties           map[string]*schema
	Required             []string
	Items                *schema
	Enum                 []any
	Pattern              string
	AdditionalProperties bool
}

func readDescription(t *testing.T) *description {
	t.Helper()
	d := new(description)
	if err := json.Unmarshal([]byte(page(t, "docs/openapi.json")), d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("the description is of OpenAPI %q", d.OpenAPI)
	}
	return d
}

// routes are the daemon's routes, from the table that its server is built from: the methods of each
// path, as OpenAPI spells it.
func routes() map[string][]string {
	server := serve.New(serve.Options{Control: struct{ serve.Control }{}, Observer: observe.Discard(), Clock: clockwork.NewRealClock()})
	all := map[string][]string{}
	for _, route := range server.Routes() {
		all[strings.TrimSuffix(route.Pattern, "{$}")] = slices.Sorted(maps.Keys(route.Methods))
	}
	return all
}

// The description has every route of the daemon with its methods, and no other.
func TestOpenAPIDescribesTheRoutes(t *testing.T) {
	t.Parallel()
	api, served := readDescription(t), routes()
	if len(served) < 20 {
		t.Fatalf("the server has only %d routes", len(served))
	}
	described := slices.Sorted(maps.Keys(api.Paths))
	if want := slices.Sorted(maps.Keys(served)); !slices.Equal(described, want) {
		t.Errorf("docs/openapi.json describes\n%s\nthe daemon serves\n%s", strings.Join(described, "\n"), strings.Join(want, "\n"))
	}

	d := toDescribe(t)
	named := strings.NewReplacer("{feed}", feed, "{stream}", feed, "{consumer}", "indexer", "{file}", "main.js", "{id}", "0")
	for p, item := range api.Paths {
		var methods []string
		for method := range item {
			if method != "parameters" {
				methods = append(methods, strings.ToUpper(method))
			}
		}
		slices.Sort(methods)
		if !slices.Equal(methods, served[p]) {
			t.Errorf("%s is described with %q and has %q", p, methods, served[p])
		}
		a := d.request(t, http.MethodPatch, named.Replace(p), nil)
		allowed := strings.Split(strings.TrimSuffix(a.header.Get("Allow"), ", HEAD"), ", ")
		if a.status != http.StatusMethodNotAllowed || !slices.Equal(allowed, methods) {
			t.Errorf("%s is described with %q; PATCH is answered %d with %q", p, methods, a.status, a.header.Get("Allow"))
		}
	}
}

// toDescribe is a daemon with a feed, entries and a consumer.
func toDescribe(t *testing.T) *daemon {
	t.Helper()
	sim := simulate(t, 0)
	d := newDaemon(t, sim.url(), nil)
	d.startLive()
	sim.produce(50)
	d.awaitStored(50)
	if _, _, err := d.CreateConsumer(t.Context(), feed, "indexer", "0-0", messages.ConsumerFilter{Kinds: []string{"commit"}}); err != nil {
		t.Fatal(err)
	}
	return d
}

// What the daemon answers has the fields that the description says, and those alone.
func TestOpenAPIDescribesTheAnswers(t *testing.T) {
	t.Parallel()
	api := readDescription(t)
	d := toDescribe(t)
	const stream, consumer = "/v1/streams/" + feed, "/v1/streams/" + feed + "/consumers/indexer"
	check := func(name string, a answer, status int) (fields map[string]any) {
		t.Helper()
		if a.status != status {
			t.Fatalf("%s: status %d, want %d: %s", name, a.status, status, a.body)
		}
		var got any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatalf("%s: %v: %s", name, err, a.body)
		}
		for _, fault := range api.faults("#", &schema{Ref: "#/components/schemas/" + name}, got) {
			t.Errorf("%s: %s", name, fault)
		}
		fields, _ = got.(map[string]any)
		return fields
	}
	post := func(p, body string) answer {
		return d.request(t, http.MethodPost, p, func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		})
	}
	check("Health", d.get(t, "/healthz"), 200)
	check("Readiness", d.get(t, "/readyz"), 200)
	check("Feeds", d.get(t, "/v1/feeds"), 200)
	check("FeedStatus", d.get(t, "/v1/feeds/"+feed), 200)
	check("FeedHistory", d.get(t, "/v1/feeds/"+feed+"/history"), 200)
	check("Streams", d.get(t, "/v1/streams"), 200)
	check("StreamStatus", d.get(t, stream), 200)
	check("Gaps", d.get(t, "/v1/gaps"), 200)
	check("Gaps", d.get(t, "/v1/feeds/"+feed+"/gaps?state=open"), 200)
	check("Error", post("/v1/feeds/"+feed+"/gaps/0/repair", ""), 404)
	check("Page", d.get(t, stream+"/frames?limit=10"), 200)
	check("Page", d.get(t, stream+"/tail?after=0-0&limit=10"), 200)
	check("Consumers", d.get(t, stream+"/consumers"), 200)
	check("ConsumerStatus", d.get(t, consumer), 200)
	batch := check("Batch", d.get(t, consumer+"/next?limit=5"), 200)
	check("ConsumerStatus", d.get(t, consumer), 200) // with its lease
	token := fmt.Sprintf(`{"token":%q}`, batch["token"])
	check("LeaseAnswer", post(consumer+"/extend", token), 200)
	check("LeaseAnswer", post(consumer+"/ack", token), 200)
	check("ConsumerStatus", post(consumer+"/seek", `{"after":"now"}`), 200)
	check("Error", d.get(t, stream+"/tail"), 400)
	check("Error", d.get(t, "/nowhere"), 404)
	check("Accepted", post("/v1/feeds/"+feed+"/reconnect", ""), 202)
	check("StreamInfo", post(stream+"/close?reason=done", ""), 200)
	check("Page", d.get(t, stream+"/tail?after=0-0&limit=1000"), 200) // of a closed stream
}

// faults says what of a JSON value is not as the schema has it.
func (d *description) faults(at string, s *schema, v any) (faults []string) {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		named := d.Components.Schemas[name]
		if named == nil {
			return []string{at + ": there is no schema " + name}
		}
		return d.faults(at, named, v)
	}
	is := func(kind string) bool {
		if list, ok := s.Type.([]any); ok {
			return slices.Contains(list, any(kind))
		}
		return s.Type == kind
	}
	wrong := func(got string) []string { return []string{fmt.Sprintf("%s is %s, described as %v", at, got, s.Type)} }
	switch v := v.(type) {
	case map[string]any:
		if !is("object") {
			return wrong("an object")
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				faults = append(faults, at+" lacks "+name)
			}
		}
		for name, value := range v {
			if property := s.Properties[name]; property != nil {
				faults = append(faults, d.faults(at+"/"+name, property, value)...)
			} else if !s.AdditionalProperties {
				faults = append(faults, at+" has "+name+", which is not described")
			}
		}
	case []any:
		if !is("array") {
			return wrong("an array")
		}
		for i, value := range v {
			faults = append(faults, d.faults(fmt.Sprintf("%s/%d", at, i), s.Items, value)...)
		}
	case string:
		if !is("string") {
			return wrong("a string")
		}
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) || s.Enum != nil && !slices.Contains(s.Enum, any(v)) {
			return []string{fmt.Sprintf("%s is %q, which is not described", at, v)}
		}
	case float64:
		if !is("number") && (!is("integer") || v != float64(int64(v))) {
			return wrong(fmt.Sprint(v))
		}
	case bool:
		if !is("boolean") {
			return wrong("a boolean")
		}
	case nil:
		if !is("null") {
			return wrong("null")
		}
	}
	return faults
}
