package testkit

import (
	"testing"

	"go.uber.org/goleak"
)

// LeakCheck fails the test if it ends with goroutines that were not there when
// LeakCheck was called. Call it first: what is cleaned up later is cleaned up
// before the look. Not for parallel tests, which see one another's goroutines,
// nor for synctest bubbles, which find their own.
func LeakCheck(tb testing.TB) {
	tb.Helper()
	before := goleak.IgnoreCurrent()
	tb.Cleanup(func() { goleak.VerifyNone(tb, before) })
}

// LeakMain runs a package's tests and fails if goroutines are left at the end:
// func TestMain(m *testing.M) { testkit.LeakMain(m) }.
func LeakMain(m *testing.M) { goleak.VerifyTestMain(m) }
