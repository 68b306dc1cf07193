// Package view decides how a load and its report look: text and a live table for a
// terminal, a page for a browser, lines for a spreadsheet.
//
// # Model
//
// All of it is made of a load.Report, a load.Snapshot or a load.Record, and of
// nothing else. The text and the page have the same rows. The page is one file
// without scripts: its plots are drawings with the words beside them in HTML, its
// colors follow the reader's theme, and each plot is told in words too.
//
// # Invariants
//
//	I1  What comes from a target is text: it can neither mark up the page, steer
//	    the terminal, nor be taken for a formula.
//	I2  The page asks for nothing: no script, no reference but to itself.
//	I3  Every table has a caption and headers with a scope; every drawing a name;
//	    every id is unique and every tag closed.
//	I4  A line of the CSV for each request, with the intended start, whatever became of it.
//	I5  The live table leaves the screen as it was.
//
// # Concurrency
//
// CSV and Live lock themselves; the rest are functions.
//
// # Failure
//
// The writer's errors are returned; the CSV keeps the first for Close.
//
// # Not here
//
// What the figures are: load and gauge. Whether they are good: verdict. Templates:
// the packages for them call methods by name, which keeps every method of the
// whole program in the binary.
package view
