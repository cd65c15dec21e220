package package_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The unit of the packages is the unit for an installation by hand, but for the path of the binary
// and the comment that tells how to install it.
func TestPackagedUnitDiffersInThePathAlone(t *testing.T) {
	out, err := exec.Command("sed", "-f", "unit.sed", "../tempestd.service").Output()
	if err != nil {
		t.Fatal(err)
	}
	settings := func(unit string) string {
		return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(unit, "")
	}
	byHand := settings(read(t, "../tempestd.service"))
	if got, want := settings(string(out)), strings.ReplaceAll(byHand, "/usr/local/bin/", "/usr/bin/"); got != want || got == byHand {
		t.Errorf("the packaged unit is\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(string(out), "/usr/local") {
		t.Error("the packaged unit names /usr/local")
	}
}

// The configuration of the packages is the reference, but for data_dir, which is the unit's: root's
// commands find the store there.
func TestPackagedConfigurationNamesTheDataOfTheUnit(t *testing.T) {
	out, err := exec.Command("sed", "-f", "config.sed", "../../config.toml").Output()
	if err != nil {
		t.Fatal(err)
	}
	const dataDir = `data_dir = "/var/lib/tempestd"`
	if got, want := string(out), strings.Replace(read(t, "../../config.toml"), "\n#"+dataDir+"\n", "\n"+dataDir+"\n", 1); got != want || !strings.Contains(got, "\n"+dataDir+"\n") {
		t.Error("config.sed does more or less than to set", dataDir)
	}
	if !strings.Contains(read(t, "../tempestd.service"), "\nStateDirectory=tempestd\n") {
		t.Error("the unit keeps its data elsewhere")
	}
}

// What the packages are to contain is made by dist.sh, or stands in the repository.
func TestWhatThePackagesContainExists(t *testing.T) {
	dist, config := read(t, "../dist.sh"), read(t, "nfpm.yaml")
	made := map[string]bool{"man": true, "completions": true} // by TestEveryCommandHasAPage
	sources := regexp.MustCompile(`(?m)^ +(?:- src|postinstall|preremove|postremove): (\S+)$`).FindAllStringSubmatch(config, -1)
	if len(sources) < 12 {
		t.Fatalf("found only %d sources in nfpm.yaml", len(sources))
	}
	for _, source := range sources {
		first, rest, _ := strings.Cut(source[1], "/")
		_, here := os.Stat(filepath.Join("../..", first))
		switch {
		case first == "package":
			if _, err := os.Stat(rest); err != nil {
				t.Error(err)
			}
		case made[first], strings.Contains(dist, `"$stage/`+first+`"`):
		case here != nil || !regexp.MustCompile(`cp -R [^\n]*\b`+regexp.QuoteMeta(first)+`\b[^\n]* "\$stage/"`).MatchString(dist):
			t.Errorf("dist.sh does not put %s where nfpm looks for it", source[1])
		}
	}
}

func TestScriptsParse(t *testing.T) {
	scripts, err := filepath.Glob("*.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range append(scripts, "../dist.sh", "../machine.sh", "../boot.sh", "../lifecycle.sh") {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}
