package archtest

import "strings"

// Floor is one level of the tree.
type Floor struct {
	// Name is how faults call the floor, such as "F1 mechanism".
	Name string
	// Does says in words what lives there.
	Does string
	// Ranks are the packages, as paths below the module root. Packages of one
	// rank may not import one another; a later rank may import an earlier one.
	Ranks [][]string
	// Imports are the lower floors its production files may import.
	Imports []string
	// Pure demands the rules of I3.
	Pure bool
	// Vendor says whether modules outside the standard library are allowed.
	Vendor bool
}

// Floor names, for the table below.
const (
	vocabulary = "F0 vocabulary"
	mechanism  = "F1 mechanism"
	adapter    = "F2 adapter"
	control    = "F3 control"
	execution  = "F4 execution"
	edge       = "F5 edge"
	wiring     = "F6 wiring"
	testOnly   = "test only"
	harness    = "harness"
)

// Floors is the whole order of the tree, lowest first.
var Floors = []Floor{
	{
		Name: vocabulary, Does: "the nouns everybody shares",
		Ranks: [][]string{{"internal/llm", "internal/flow"}},
		Pure:  true,
	},
	{
		Name: mechanism, Does: "state machines; the time is an argument",
		Ranks: [][]string{
			{
				"internal/quota", "internal/fairqueue", "internal/estimate",
				"internal/breaker", "internal/backoff", "internal/event",
				"internal/task", "internal/coalesce", "internal/respcache", "internal/field", "internal/peer", "internal/load/arrival", "internal/endpoint/repair",
			},
			{"internal/gate", "internal/explain"},
			{"internal/ratelimit"},
		},
		Imports: []string{vocabulary},
		Pure:    true,
	},
	{
		Name: adapter, Does: "the outside world: one package per protocol, store or sink",
		Ranks: [][]string{{
			"internal/provider/openai", "internal/provider/sim", "internal/sink/prom", "internal/sink/ring", "internal/sink/emf",
			"internal/store/memory",
		}},
		Imports: []string{vocabulary, mechanism},
		Vendor:  true,
	},
	{
		Name: control, Does: "lock, timer and channels around the mechanism",
		Ranks:   [][]string{{"internal/admission", "internal/capacity/agenda", "internal/capacity/figure"}, {"internal/capacity"}},
		Imports: []string{vocabulary, mechanism},
	},
	{
		Name: execution, Does: "route, attempt, relay, settle; tasks",
		Ranks:   [][]string{{"internal/dispatch", "internal/runner"}},
		Imports: []string{vocabulary, mechanism, control},
	},
	{
		Name: edge, Does: "HTTP for programs and people, and the users of a load test",
		Ranks: [][]string{
			{"internal/load/gauge", "internal/load/wire", "internal/load/footprint", "internal/load/judge"},
			{"internal/gateway", "internal/endpoint", "internal/console", "internal/inspect", "internal/load"},
			{"internal/load/verdict", "internal/load/view"},
			{"internal/load/trial"},
		},
		Imports: []string{vocabulary, mechanism, control, execution},
	},
	{
		Name: wiring, Does: "reads the environment, names adapters, owns goroutines",
		Ranks:   [][]string{{"internal/config"}, {"internal/capacity/inquiry"}, {"internal/app"}, {"internal/cli"}, {"cmd/millrace"}},
		Imports: []string{vocabulary, mechanism, adapter, control, execution, edge},
		Vendor:  true,
	},
	{
		Name: testOnly, Does: "imported by test files alone",
		Ranks:   [][]string{{"internal/testkit", "internal/archtest"}, {"internal/dispatch/providertest", "internal/runner/storetest"}},
		Imports: []string{vocabulary, mechanism, control, execution},
		Vendor:  true,
	},
	{
		Name: harness, Does: "programs that test, measure or break the product from outside",
		Ranks:   [][]string{{"test/acceptance/crowd", "test/acceptance/malform", "test/acceptance/forecast"}, {"test/..."}},
		Imports: []string{vocabulary, mechanism, adapter, control, execution, edge, wiring, testOnly},
		Vendor:  true,
	},
}

// vendorAllowed names single packages that use a module although their floor is
// for the standard library, each with its reason.
var vendorAllowed = map[string]map[string]string{
	"internal/load": {
		"github.com/HdrHistogram/hdrhistogram-go": "latency percentiles of fixed precision",
	},
	"internal/load/gauge": {
		"github.com/HdrHistogram/hdrhistogram-go": "latency percentiles of fixed precision",
	},
}

// stdAllowed names packages that a pure package may import although I3 forbids
// them, each with its reason.
var stdAllowed = map[string]map[string]string{
	"internal/llm":     {"net/http": "http.Header is part of the vocabulary"},
	"internal/peer":    {"net/netip": "an address is a value; nothing is resolved"},
	"internal/task":    {"net/http": "a task keeps the headers its request needs"},
	"internal/backoff": {"net/http": "reads Retry-After out of an http.Header"},
}

// place is where the table puts one package.
type place struct {
	floor *Floor
	rank  int
}

// find returns the place of a package, given as its path below the module root.
func find(floors []Floor, rel string) (place, bool) {
	for i := range floors {
		for rank, paths := range floors[i].Ranks {
			for _, p := range paths {
				if p == rel || strings.HasSuffix(p, "/...") && strings.HasPrefix(rel, strings.TrimSuffix(p, "...")) {
					return place{&floors[i], rank}, true
				}
			}
		}
	}
	return place{}, false
}
