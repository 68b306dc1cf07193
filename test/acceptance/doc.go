// Command acceptance decides whether the gateway keeps its promises in real
// time: it starts judges (millrace sim), gateways (millrace serve) and users
// (millrace load) as processes of their own, and compares what the users and
// the judge saw with what was promised.
//
//	go run ./test/acceptance [-run REGEX] [-quick] [-long] [-parallel N] [-requests N] [-data DIR] [-keep DIR] [-list]
//
// Most cases of the table have one or several legs. A leg is one judge, one
// gateway in front of it (or none) and one load; it has free loopback ports and
// a state folder of its own. The others are the users themselves. One line is
// printed for each case that ends, then a table of all in Markdown, then the
// counts. The exit status is 1 if a case failed.
//
// Groups, by the beginning of the name:
//
//	straight    no gateway: the judge is strict enough to be worth asking
//	users       60 s of 10 to 200 users: no error, no throttle, no extra attempt
//	use         over quota for long: the binding limit is used, for every kind of window
//	unknown     buckets of the judge that the gateway was not told
//	greedy      what one user who asks for everything costs the others
//	rude        users who leave, a provider that fails and hangs
//	seeds       the first users' own script against the gateway as it comes, each task to its end;
//	            200 of them take 10 minutes and run only with -long or where -run names them
//	nonce       200 users through cache, shared calls, fallback, streams, tasks and cancels:
//	            everybody gets his own answer; -requests, a million by default
//	hostile     slow, huge, forged and malformed requests, and what a polite user notices of them
//	console     what an open page costs a gateway at which 10,000 users wait
//	plan        what millrace plan says against what then happens, 15 minutes each, all at once with
//	            -parallel 6; but for plan/size they run only with -long or where -run names them
//	trace       a recorded hour at 20x: Azure's traces from -data, else fitted ones
//
// Light cases run several at once; nonce, hostile and the traces run after the
// others, each alone. Hostile cases read /proc and use 127.0.0.2, and so want Linux.
// Figures that depend on chance have a fixed seed; what is left is the timing
// of a busy machine, so that -parallel should not be raised far above what its
// cores carry.
package main
