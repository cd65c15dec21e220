package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tempestd/internal/config"
)

// deploy/dist.sh makes the pages of a release with this test, so that the binary holds no generator.
var pages = flag.String("pages", "", "the directory to write the manual pages and the completions to")

// TestEveryCommandHasAPage writes a manual page of every command and of the configuration, and the
// completions of the shells.
func TestEveryCommandHasAPage(t *testing.T) {
	write := func(path string, page []byte) {
		if *pages == "" {
			return
		}
		path = filepath.Join(*pages, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := newRoot(&app{env: os.LookupEnv})
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	everyCommand(root, func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		page := commandPage(c)
		write("man/"+pageName(c)+".1", page)
		for _, line := range bytes.Split(page, []byte("\n")) {
			if len(line) > 0 && line[0] == '\'' || bytes.HasPrefix(line, []byte("..")) {
				t.Errorf("%s: a line of the text is taken for a request: %s", pageName(c), line)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !bytes.Contains(page, []byte(roffText("--"+f.Name))) {
				t.Errorf("%s does not tell of --%s", pageName(c), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			if !bytes.Contains(page, []byte(roffText(pageName(sub)))) {
				t.Errorf("%s does not lead to %s", pageName(c), pageName(sub))
			}
		}
	})

	var reference bytes.Buffer
	if err := config.Default().WriteReference(&reference); err != nil {
		t.Fatal(err)
	}
	page := configPage(reference.String())
	write("man/tempestd.toml.5", page)
	for line := range strings.Lines(reference.String()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "# ")
		if line != "#" && !bytes.Contains(page, []byte(roffText(line))) {
			t.Errorf("tempestd.toml(5) lacks %s", line)
		}
	}

	for path, generate := range map[string]func(*bytes.Buffer) error{
		"bash": func(b *bytes.Buffer) error { return root.GenBashCompletionV2(b, true) },
		"zsh":  func(b *bytes.Buffer) error { return root.GenZshCompletion(b) },
		"fish": func(b *bytes.Buffer) error { return root.GenFishCompletion(b, true) },
	} {
		var script bytes.Buffer
		if err := generate(&script); err != nil || !strings.Contains(script.String(), cobra.ShellCompRequestCmd) {
			t.Errorf("the completion of %s does not ask the command: %v", path, err)
		}
		write("completions/tempestd."+path, script.Bytes())
	}
}

// everyCommand calls f with c and all commands below it.
func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, f)
	}
}

// pageName returns the name of a command's page: "tempestd-streams-list".
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// commandPage returns the manual page of a command, for man(1).
func commandPage(c *cobra.Command) []byte {
	p := newRoff(pageName(c), "1", c.Short)
	p.section("SYNOPSIS")
	p.request(".B", c.UseLine())
	if c.HasSubCommands() {
		p.request(".br")
		p.request(".B", c.CommandPath()+" COMMAND")
	}
	p.section("DESCRIPTION")
	if c.Long == "" {
		p.text(c.Short + ".")
	}
	p.text(c.Long)
	if flags := c.LocalFlags(); flags.HasFlags() {
		p.section("OPTIONS")
		flags.VisitAll(func(f *pflag.Flag) {
			value, usage := pflag.UnquoteUsage(f)
			name := "--" + f.Name
			if f.Shorthand != "" {
				name = "-" + f.Shorthand + ", " + name
			}
			p.request(".TP")
			p.request(".B", strings.TrimSpace(name+" "+value))
			if !slices.Contains([]string{"", "false", "[]", "0", "0s"}, f.DefValue) {
				usage += " (default " + f.DefValue + ")"
			}
			p.text(usage)
		})
	}
	if c.Example != "" {
		p.section("EXAMPLES")
		p.text(c.Example)
	}
	p.section("SEE ALSO")
	var others []string
	if c.HasParent() {
		others = append(others, pageName(c.Parent())+"(1)")
	}
	for _, sub := range c.Commands() {
		others = append(others, pageName(sub)+"(1)")
	}
	p.text(strings.Join(append(others, "tempestd.toml(5)"), ", "))
	return p.Bytes()
}

// configPage returns the manual page of the configuration from its documented reference.
func configPage(reference string) []byte {
	p := newRoff("tempestd.toml", "5", "the configuration of tempestd")
	p.section("DESCRIPTION")
	p.text("tempestd reads the file that -c names, else ./config.toml, else /etc/tempestd/config.toml. Without a file every key has its default.")
	p.request(".PP")
	var told []string // the comment above a key or a table
	for line := range strings.Lines(reference) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "# ") || line == "#":
			told = append(told, strings.TrimPrefix(line[1:], " "))
			continue
		case line == "" && len(told) == 0:
			continue
		case line == "":
			p.text(strings.Join(told, "\n"))
		case strings.HasPrefix(line, "["):
			p.section(line)
			p.text(strings.Join(told, "\n"))
		default:
			if p.request(".TP"); len(told) == 0 {
				p.request(".PD 0")
			}
			p.request(".B", line)
			p.text(strings.Join(told, "\n"))
			p.request(".PD")
		}
		told = nil
	}
	p.section("SEE ALSO")
	p.text("tempestd(1), tempestd-check(1), tempestd-reload(1)")
	return p.Bytes()
}

// roff is a manual page in the language of man(7).
type roff struct{ bytes.Buffer }

// newRoff begins a page. It is dated by $SOURCE_DATE_EPOCH, so that a release can be made again.
func newRoff(name, section, short string) *roff {
	date := ""
	if epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(epoch, 0).UTC().Format(time.DateOnly)
	}
	p := new(roff)
	fmt.Fprintf(p, ".TH %q %s %q tempestd\n.nh\n.ad l\n", strings.ToUpper(name), section, date)
	p.section("NAME")
	p.text(name + " - " + short)
	return p
}

func (p *roff) section(title string) { fmt.Fprintf(p, ".SH %s\n", roffText(title)) }

// request writes a request, of which the rest of the line is one argument.
func (p *roff) request(name string, text ...string) {
	p.WriteString(name)
	for _, s := range text {
		fmt.Fprintf(p, ` "%s"`, roffText(s))
	}
	p.WriteByte('\n')
}

var indented = regexp.MustCompile(`(?m)^[ \t]`)

// text writes paragraphs, which empty lines separate. A paragraph with an indented line keeps its
// lines as they are.
func (p *roff) text(s string) {
	if s == "" {
		return
	}
	for i, paragraph := range strings.Split(s, "\n\n") {
		if i > 0 {
			p.request(".PP")
		}
		asIs := indented.MatchString(paragraph)
		if asIs {
			p.request(".nf")
		}
		fmt.Fprintln(p, roffText(paragraph))
		if asIs {
			p.request(".fi")
		}
	}
}

// roffText escapes what roff takes for its own: backslashes, quotes, hyphens that are to be copied
// as such, and the first character of a request.
func roffText(s string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`).Replace(s), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
