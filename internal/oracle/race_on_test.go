//go:build race

package oracle_test

// briefly is how many schedules are drawn unless the command line says otherwise.
const briefly = 3
