package jetstream_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the main function of the flood server. A benchmark starts the test binary a
// second time, so that the server's work is not counted as the client's.
func TestMain(m *testing.M) {
	if os.Getenv(floodVariable) != "" {
		flood()
		return
	}
	goleak.VerifyTestMain(m)
}
