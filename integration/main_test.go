package integration_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(floodVariable) != "" {
		flood()
		return
	}
	goleak.VerifyTestMain(m)
}
