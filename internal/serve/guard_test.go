package serve

import (
	"net/http"
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
		if err := checkOrigin(r); (err == nil) != ok {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
