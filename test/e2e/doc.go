// Package e2e tells stories about the built binary: each file in testdata is a
// script that starts millrace as a person would, asks it over HTTP, and looks at
// what it printed and how it ended.
//
// The scripts are those of testscript, with these commands added:
//
//	port NAME                 puts a free port of the loopback in the variable NAME
//	await URL [REGEXP]        asks until the answer is 200 (and its body matches)
//	! await URL [REGEXP]      asks until there is another answer
//	said [-count=N] FILE REGEXP  waits until the file has N lines that match (1 where nothing is said)
//	loopback WORD             the background program whose command line has the WORD listens on
//	                          the loopback alone; with ! elsewhere, too
//	signal TERM|HUP WORD      signals that program
//	exits STATUS PROGRAM ...  runs a program that must exit with the status
//	http [-d BODY] [-H 'NAME: VALUE'] URL
//	                          prints status, header and body; a program, so that
//	                          it can run in the background
package e2e
