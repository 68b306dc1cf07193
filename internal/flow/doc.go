// Package flow names who asks and how a request ends.
//
// A flow is one unit of fairness: a user of a tenant within a class of work.
// Outcomes are the closed list of ways in which a request can end; each
// request ends in exactly one of them. Two families of sentinels say why a
// request did not run: ErrRefused (before the queue) and ErrEvicted (out of
// it). Every cause wraps its family, so errors.Is answers both questions.
package flow
