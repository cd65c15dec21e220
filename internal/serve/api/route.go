package api

import (
	"context"
	"net/http"
	"time"
)

// BriefTimeout bounds a call to the actors or the store that needs no waiting.
const BriefTimeout = 5 * time.Second

// Handler answers a request. It returns an error if it has not answered.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Methods are a route's handlers by HTTP method. GET serves HEAD as well.
type Methods map[string]Handler

// Route is a row of the table that the server is built from.
type Route struct {
	Pattern string // of http.ServeMux, without a method
	Public  bool   // needs no token
	Full    bool   // needs the full token for a GET too
	Body    bool   // has a JSON body
	Methods Methods
}

// Brief wraps a handler that takes no parameters and must be done within BriefTimeout.
func Brief(do Handler) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := ParseParams(r).Err; err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), BriefTimeout)
		defer cancel()
		return do(w, r.WithContext(ctx))
	}
}
