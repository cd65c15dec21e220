// Package config turns a TOML file into a validated, typed configuration. Every default stands here and nowhere else.
package config
