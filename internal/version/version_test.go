package version

import (
	"strings"
	"testing"
)

func TestUserAgent(t *testing.T) {
	for _, c := range []struct{ version, module, want string }{
		{"v1.2.3", "host.example/who/tempestd", "tempestd/v1.2.3 (+https://host.example/who/tempestd)"},
		{"v0.0.0-20261129094635-ddc9bb9c0ffe+dirty", "host.example/tempestd", "tempestd/v0.0.0-20261129094635-ddc9bb9c0ffe+dirty (+https://host.example/tempestd)"},
		{"(devel)", "host.example/tempestd", "tempestd/devel (+https://host.example/tempestd)"},
		{"v1.2.3", "tempestd", "tempestd/v1.2.3 (+https://pkg.go.dev/tempestd)"},
		{"v1.2.3", "command-line-arguments", "tempestd/v1.2.3 (+https://pkg.go.dev/tempestd)"},
		{"v1\r\nX: y", "", "tempestd/v1Xy (+https://pkg.go.dev/tempestd)"},
	} {
		if got := userAgent(c.version, c.module); got != c.want {
			t.Errorf("%q of %q is the agent %q, want %q", c.version, c.module, got, c.want)
		}
	}
	if got := UserAgent(This().Version); !strings.HasPrefix(got, "tempestd/") {
		t.Errorf("this build is the agent %q", got)
	}
}
