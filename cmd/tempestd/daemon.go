package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tempestd/internal/client"
	"tempestd/internal/config"
	"tempestd/internal/plain"
)

// defaultAddr is the address of a daemon with the default configuration.
const defaultAddr = "127.0.0.1:7077"

// completionTimeout bounds the time of a completion by the tab key.
const completionTimeout = 500 * time.Millisecond

// clientFlags adds the flags that locate the daemon.
func (a *app) clientFlags(c *cobra.Command) {
	a.configFlag(c)
	c.Flags().StringVar(&a.addr, "addr", "", "`address` of the daemon, host:port or URL (default http.listen of the configuration, else "+defaultAddr+")")
	c.Flags().StringVar(&a.tokenFile, "token-file", "", "`file` with the daemon's token (default $TEMPESTD_TOKEN, else the configuration's token)")
	must(c.MarkFlagFilename("token-file"))
}

// connect returns a client of the daemon. It sends the token of a configuration to another address
// only if -c names the configuration explicitly.
func (a *app) connect() (*client.Client, error) {
	addr, secret := a.addr, config.Secret{}
	if addr == "" || a.configPath != "" {
		cfg, err := a.clientConfig()
		if err != nil {
			return nil, err
		}
		if addr == "" && cfg != nil && answers(cfg.Socket()) {
			return client.NewSocket(cfg.Socket()), nil
		}
		a.warnOfToken(cfg)
		if addr == "" {
			if addr, err = listenAddr(cfg); err != nil {
				return nil, err
			}
		}
		if cfg != nil {
			if secret = cfg.HTTP.Token; secret.IsHash() {
				secret = config.Secret{} // it cannot be sent
			}
		}
	}
	token := secret.Reveal()
	if set, _ := a.env("TEMPESTD_TOKEN"); set != "" {
		token = set
	}
	if a.tokenFile != "" {
		read, err := config.ReadToken(a.tokenFile)
		if err != nil {
			return nil, usage("--token-file: %w", err)
		}
		token = read.Reveal()
	}
	c, err := client.New(addr, token)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

// answers reports whether a daemon listens at the control socket, and lets this process in.
func answers(socket string) bool {
	if socket == "" {
		return false
	}
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// clientConfig loads the configuration of a client command, or returns nil if there is none. If -c
// does not name it and it is invalid, clientConfig prints a note and ignores it.
func (a *app) clientConfig() (*config.Config, error) {
	path, err := config.Find(a.configPath)
	if path == "" || err != nil {
		return nil, err
	}
	cfg, err := config.Load(path, a.env)
	if err != nil && a.configPath == "" {
		first, _, _ := strings.Cut(err.Error(), "\n")
		fmt.Fprintf(a.err, "%s; not used, trying %s\n", first, defaultAddr)
		return nil, nil
	}
	return cfg, err
}

// warnOfToken warns of a token that only the daemon can read.
func (a *app) warnOfToken(cfg *config.Config) {
	if cfg == nil || a.tokenFile != "" || !cfg.HTTP.Token.IsEmpty() {
		return
	}
	for _, e := range cfg.Unresolved {
		if set, _ := a.env("TEMPESTD_TOKEN"); set == "" && strings.HasPrefix(e.Key, "http.token") {
			fmt.Fprintf(a.err, "warning: %s; trying without a token: --token-file or TEMPESTD_TOKEN gives one\n", e)
		}
	}
}

// listenAddr returns the address at which the configured daemon listens.
func listenAddr(cfg *config.Config) (string, error) {
	if cfg == nil {
		return defaultAddr, nil
	}
	_, port, _ := net.SplitHostPort(cfg.HTTP.Listen)
	switch {
	case cfg.HTTP.Listen == "":
		return "", usage("http.listen is off in %s: there is no daemon to ask; --addr names another", cfg.Path)
	case port == "0":
		return "", usage("http.listen of %s has port 0, which is another one at every start; --addr says which", cfg.Path)
	}
	if cfg.HTTP.TLSCertFile != "" {
		return "https://" + cfg.HTTP.Listen, nil
	}
	return cfg.HTTP.Listen, nil
}

// withClient calls f with a client of the daemon.
func (a *app) withClient(f func(*client.Client) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// completeNames completes the first argument with names from the daemon. Without a daemon it offers
// none.
func (a *app) completeNames(names func(ctx context.Context, c *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
		defer cancel()
		var found []string
		_ = a.withClient(func(c *client.Client) (err error) {
			found, err = names(ctx, c)
			return err
		})
		found = slices.DeleteFunc(found, func(name string) bool { return !strings.HasPrefix(name, word) || plain.Line(name) != name })
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func feedNames(ctx context.Context, c *client.Client) ([]string, error) {
	feeds, err := c.Feeds(ctx)
	names := make([]string, len(feeds))
	for i, f := range feeds {
		names[i] = f.Feed
	}
	return names, err
}

func streamNames(ctx context.Context, c *client.Client) ([]string, error) {
	streams, err := c.Streams(ctx)
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = s.Name
	}
	return names, err
}

// gone reports whether it makes sense to wait for the daemon: it is unreachable, or it asks to try
// later.
func gone(err error) bool {
	var refusal *client.APIError
	if errors.As(err, &refusal) {
		return refusal.Status == http.StatusServiceUnavailable || refusal.Status == http.StatusTooManyRequests
	}
	return err != nil
}
