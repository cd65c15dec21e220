package main

import (
	"os/exec"
	"strings"
	"testing"
)

// Bubbletea asks the terminal for its colours when the program starts, and waits for seconds for a
// terminal that does not answer. No command may depend on what does that.
func TestNothingIsAskedOfTheTerminal(t *testing.T) {
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.Lines(string(deps)) {
		if strings.Contains(name, "bubbletea") {
			t.Errorf("the binary contains %s", name)
		}
	}
}
