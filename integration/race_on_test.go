//go:build race

package integration_test

const testsHaveDetector = true
