// Package promql checks, by Prometheus's own parsers, that every query of the
// examples is sound and asks for metrics, labels and words that docs/guide/metrics.md
// knows. It is a module of its own: nothing else needs what the parsers need.
package promql
