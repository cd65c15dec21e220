package observe_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tempestd/internal/observe"
)

var metricName = regexp.MustCompile(`tempestd_[a-z0-9_]+`)

// Alerts and panels must not ask for metrics or events that do not exist: such a query is never
// true, and never says why. make alerts evaluates all of them.
func TestAlertsAndPanelsNameWhatExists(t *testing.T) {
	known := map[string]bool{}
	for _, d := range observe.NewMetrics().Definitions() {
		known[d.Name] = true
		if d.Type == "histogram" {
			known[d.Name+"_bucket"], known[d.Name+"_count"], known[d.Name+"_sum"] = true, true, true
		}
	}
	for _, name := range []string{"alerts.yml", "dashboard.json"} {
		text, err := os.ReadFile("../../deploy/prometheus/" + name)
		if err != nil {
			t.Fatal(err)
		}
		found := metricName.FindAllString(string(text), -1)
		for _, metric := range found {
			if !known[metric] {
				t.Errorf("%s asks for %s, which is no metric", name, metric)
			}
		}
		if len(found) < 15 {
			t.Errorf("%s has %d metrics", name, len(found))
		}
		for _, list := range regexp.MustCompile(`event=~?\\?"([^"\\]+)`).FindAllStringSubmatch(string(text), -1) {
			for event := range strings.SplitSeq(list[1], "|") {
				matches := regexp.MustCompile("^" + strings.TrimSuffix(event, "*") + map[bool]string{true: "", false: "$"}[strings.HasSuffix(event, "*")])
				if !slices.ContainsFunc(observe.Catalogue, func(d observe.Definition) bool { return matches.MatchString(string(d.Event)) }) {
					t.Errorf("%s asks for the event %s, which does not exist", name, event)
				}
			}
		}
	}
}
