package oracle

import (
	"fmt"
	"strings"
	"time"
)

// Story tells a bad run: the schedule in the form that Parse reads, the differences, and what
// happened around the faults.
func (v Verdict) Story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s", v.Schedule)
	for _, d := range v.Differences {
		fmt.Fprintf(&b, "# %s\n", d)
	}
	for _, l := range v.journal.around(0, 24*time.Hour, 400) {
		fmt.Fprintf(&b, "# %s\n", l)
	}
	return b.String()
}
