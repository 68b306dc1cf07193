// Package malform decides what a malformed HTTP request looks like: text that is no
// JSON or says odd things, nesting and duplicates, bad UTF-8, bodies of two lengths,
// broken lines, methods, paths and header values. Some of them an HTTP server may
// well answer.
package malform
