// Package figure decides how the quantities of a plan look to people: as words, as a
// table of text, and as plots of a page.
//
// # Model
//
// A number has the digits that matter to who plans, and its unit. A [Table] is set in
// columns, a [Page] is one HTML document with tables, words and plots, in light and in
// dark, on paper and on a phone.
//
// # Invariants
//
//   - I1 Whole: a page needs nothing else: no script, no font, no network.
//   - I2 Text is text: whatever the titles, ticks and names of a plot hold is escaped.
//   - I3 Finite: a plot of any values has coordinates within its frame.
//
// # Concurrency
//
// None: a page belongs to who writes it.
//
// # Failure
//
// Nothing here fails.
//
// # Not here
//
// What is said (capacity), pages with scripts (console), those of a load (load/view).
package figure
