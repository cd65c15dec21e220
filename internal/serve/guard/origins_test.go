package guard

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestWebsocketsOfOtherSitesAreRefused(t *testing.T) {
	for origin, ok := range map[string]bool{
		"": true, "http://localhost:7077": true, "https://LOCALHOST:7077": true,
		"http://localhost": false, "http://localhost:80": false, "https://evil.example": false, "null": false, "http://localhost:7077.evil.example": false,
		"http://evil.example/localhost:7077": false, "%": false, "localhost:7077": false,
	} {
		r := &http.Request{Host: "localhost:7077", Header: http.Header{}}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		if err := new(Guard).CheckOrigin(r); (err == nil) != ok {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestOriginsThatMayReadAndThoseThatMayControl(t *testing.T) {
	named := []string{"https://app.example", "http://localhost:5173", "https://*.example.org", "http://*.example.net:8080"}
	for _, tt := range []struct {
		origin        string
		read, control bool
	}{
		{"https://app.example", true, true}, {"http://localhost:5173", true, true},
		{"https://a.example.org", true, false}, {"https://a.b.example.org", true, false}, {"http://a.example.net:8080", true, false},
		{"http://app.example", false, false}, {"https://app.example:8443", false, false}, {"https://APP.example", false, false}, {"https://app.example/", false, false},
		{"https://a.app.example", false, false}, {"http://localhost", false, false}, {"http://localhost:51730", false, false},
		{"https://example.org", false, false}, {"https://.example.org", false, false}, {"http://a.example.org", false, false}, {"https://a.example.org:8443", false, false},
		{"https://evilexample.org", false, false}, {"https://evil.example/.example.org", false, false}, {"https://evil.example:1.example.org", false, false},
		{"https://a.example.org.evil.example", false, false}, {"https://*.example.org", true, false}, {"null", false, false}, {"*", false, false},
	} {
		for _, token := range []bool{true, false} {
			o := newOrigins(named, token)
			if o.mayRead(tt.origin) != tt.read || o.mayControl(tt.origin) != (tt.control && token) {
				t.Errorf("%s, token %v: read %v, control %v", tt.origin, token, o.mayRead(tt.origin), o.mayControl(tt.origin))
			}
			o = newOrigins(append([]string{"*"}, named...), token)
			if !o.mayRead(tt.origin) || o.mayControl(tt.origin) != (tt.control && token) {
				t.Errorf(`%s beside "*", token %v: read %v, control %v`, tt.origin, token, o.mayRead(tt.origin), o.mayControl(tt.origin))
			}
		}
	}
}

// FuzzOrigins checks that only origins match that are named, as browsers understand them.
func FuzzOrigins(f *testing.F) {
	for _, seed := range []string{"https://app.example", "https://a.example.org:8443", "https://evil.example/.example.org:8443", "https://u@.example.org:8443", "null", "", "*"} {
		f.Add(seed)
	}
	o := newOrigins([]string{"https://app.example", "https://*.example.org:8443"}, true)
	f.Fuzz(func(t *testing.T, origin string) {
		if o.mayControl(origin) && (origin != "https://app.example" || !o.mayRead(origin)) {
			t.Errorf("%q may control", origin)
		}
		if !o.mayRead(origin) || origin == "https://app.example" {
			return
		}
		u, err := url.Parse(origin)
		if err == nil && (u.Scheme != "https" || u.User != nil || u.Port() != "8443" || !strings.HasSuffix(u.Hostname(), ".example.org") || u.Path+u.RawQuery+u.Fragment != "") {
			t.Errorf("%q may read", origin)
		}
	})
}
