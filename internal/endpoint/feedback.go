package endpoint

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/internal/endpoint/repair"
)

// maxItems bounds the findings of one answer; more make it partial.
const maxItems = 1000

// Values of members that a model has left out.
const (
	defaultType       = "suggestion"
	defaultCategory   = "General"
	defaultRisk       = "Low"
	defaultConfidence = "0.5"
)

// itemMembers are the members that every finding has.
var itemMembers = []string{
	"id", "type", "category", "description", "suggestion", "example", "questions", "risk_level", "confidence",
}

// otherNames are what models call the description.
var otherNames = []string{"issue", "finding", "comment", "feedback", "observation", "problem", "text", "title"}

// listNames are what models call the list.
var listNames = []string{"feedback_items", "feedback", "items", "findings", "results", "issues", "comments", "data"}

// findings are the items of an answer, as far as they are complete.
type findings struct {
	items   []repair.Value
	partial bool // some are missing
}

// readFeedback takes the findings out of a model's text; false if there are none
// and it does not say so with an empty list.
func readFeedback(s string) (findings, bool) {
	all := repair.Find(s, true)
	if len(all) == 1 && all[0].Value.Kind == repair.Text { // JSON within a JSON string
		all = repair.Find(all[0].Value.Text, true)
	}
	var lists, single findings
	empty := false
	for i := range all {
		f := &all[i]
		got, isList := listed(&f.Value, f.Alone, 0)
		switch {
		case len(got.items) > 0:
			lists = lists.and(got)
		case named(&f.Value):
			single.items = append(single.items, f.Value)
		}
		empty = empty || isList && f.Alone && !f.Value.Cut
		single.partial = single.partial || f.Value.Cut
	}
	if len(lists.items) == 0 {
		lists = single
	}
	if len(lists.items) > maxItems {
		lists = findings{items: lists.items[:maxItems], partial: true}
	}
	return lists, len(lists.items) > 0 || empty
}

// and puts two lists of one text together. If they have ids in common, one is a
// revision of the other: the longer counts, or the later.
func (f findings) and(later findings) findings {
	ids := make(map[string]bool, len(f.items))
	for i := range f.items {
		ids[idOf(&f.items[i])] = true
	}
	revised := slices.ContainsFunc(later.items, func(n repair.Value) bool {
		id := idOf(&n)
		return id != "" && ids[id]
	})
	switch {
	case revised && len(later.items) >= len(f.items):
		return later
	case revised:
		return f
	}
	return findings{items: slices.Concat(f.items, later.items), partial: f.partial || later.partial}
}

func idOf(n *repair.Value) string {
	if id := n.Get("id"); id != nil {
		return id.Words()
	}
	return ""
}

// listed takes the findings out of a list, or out of an object that wraps one or
// several, and says whether there is such a list at all. alone allows a list of
// plain sentences: nothing else can be meant.
func listed(n *repair.Value, alone bool, depth int) (f findings, isList bool) {
	switch {
	case n.Kind == repair.List:
		return plausible(n, alone)
	case n.Kind != repair.Object || depth > 3:
		return findings{}, false
	}
	for i := range n.Members() {
		usual := slices.Contains(listNames, repair.Spelled(n.Keys[i]))
		if likeItem(n) && !holdsItems(&n.Items[i]) {
			continue // a finding's own list, such as its questions
		}
		got, ok := listed(&n.Items[i], alone && usual, depth+1)
		if usual && len(got.items) > 0 {
			got.partial = got.partial || n.Cut
			return got, true
		}
		f.items = append(f.items, got.items...)
		f.partial = f.partial || got.partial
		isList = isList || ok && (len(n.Items) == 1 || usual && n.Get("error") == nil)
	}
	if len(f.items) == 0 && !likeItem(n) {
		f = byName(n)
	}
	f.partial = f.partial || n.Cut
	return f, isList || len(f.items) > 0
}

// holdsItems reports whether a member of what looks like a finding holds some.
func holdsItems(n *repair.Value) bool {
	return n.Kind == repair.Object || n.Kind == repair.List && slices.ContainsFunc(n.Items, func(i repair.Value) bool { return likeItem(&i) })
}

// plausible are the findings of a list.
func plausible(n *repair.Value, sentences bool) (findings, bool) {
	f := findings{partial: n.Cut}
	for _, item := range n.Whole() {
		switch {
		case likeItem(&item):
			f.items = append(f.items, item)
		case sentences && item.Kind == repair.Text && strings.TrimSpace(item.Text) != "":
			f.items = append(f.items, repair.Value{Kind: repair.Object, Keys: []string{"description"}, Items: []repair.Value{item}})
		}
	}
	// A list of other things is no empty list of findings.
	return f, len(f.items) > 0 || len(n.Items) == 0 || n.Cut
}

// byName are findings that are members of one object, such as {"1": {...}}.
func byName(n *repair.Value) findings {
	f := findings{partial: n.Cut}
	for i := range n.Items {
		if named(&n.Items[i]) {
			f.items = append(f.items, n.Items[i])
		}
	}
	return f
}

// likeItem reports whether a value is a complete finding: it says something.
func likeItem(n *repair.Value) bool {
	return named(n) || n.Kind == repair.Object && !n.Cut && describedElse(n) != nil
}

// named reports whether a value is a complete finding by the names that were
// asked for. Of an object that stands in no list nothing less will do: models
// write their regrets as JSON, too.
func named(n *repair.Value) bool {
	if n.Kind != repair.Object || n.Cut {
		return false
	}
	return slices.ContainsFunc([]string{"description", "suggestion"}, func(name string) bool {
		m := n.Get(name)
		return m != nil && m.Words() != ""
	})
}

// describedElse is the description under another name.
func describedElse(n *repair.Value) *repair.Value {
	for _, name := range otherNames {
		if m := n.Get(name); m != nil && m.Kind == repair.Text && strings.TrimSpace(m.Text) != "" {
			return m
		}
	}
	return nil
}

// encode writes the findings, each with all its members.
func (f *findings) encode() []byte {
	taken := make(map[string]bool, len(f.items))
	for i := range f.items {
		taken[idOf(&f.items[i])] = true
	}
	used := make(map[string]bool, len(f.items))
	b := []byte{'['}
	for i := range f.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, item(&f.items[i], itemID(&f.items[i], i, taken, used))...)
	}
	return append(b, ']')
}

// itemID is the model's own id, if no finding before had it.
func itemID(n *repair.Value, i int, taken, used map[string]bool) string {
	if id := idOf(n); id != "" && len(id) <= maxName && !used[id] {
		used[id] = true
		return id
	}
	id := "f" + strconv.Itoa(i+1)
	for taken[id] || used[id] {
		id += "x"
	}
	used[id] = true
	return id
}

// item writes one finding: the known members with values of their types, then
// what else the model has written.
func item(n *repair.Value, id string) []byte {
	description := wordsOf(n, "description", "")
	if description == "" {
		if other := describedElse(n); other != nil {
			description = other.Words()
		}
	}
	o := new(object).add("id", id).
		add("type", wordsOf(n, "type", defaultType)).
		add("category", wordsOf(n, "category", defaultCategory)).
		add("description", description).
		add("suggestion", wordsOf(n, "suggestion", "")).
		add("example", wordsOf(n, "example", "")).
		add("questions", questions(n.Get("questions"))).
		add("risk_level", risk(wordsOf(n, "risk_level", defaultRisk))).
		raw("confidence", []byte(confidence(n.Get("confidence"))))
	for i := range n.Members() {
		if key := n.Keys[i]; !slices.Contains(itemMembers, repair.Spelled(key)) {
			o.raw(key, n.Items[i].Append(nil))
		}
	}
	return o.bytes()
}

func wordsOf(n *repair.Value, name, otherwise string) string {
	if m := n.Get(name); m != nil {
		if s := m.Words(); s != "" {
			return s
		}
	}
	return otherwise
}

// questions is a list of texts, whatever the model made of it; never nil.
func questions(n *repair.Value) []string {
	all := []string{}
	switch {
	case n == nil:
	case n.Kind == repair.List:
		for i := range n.Items {
			if s := n.Items[i].Words(); s != "" {
				all = append(all, s)
			}
		}
	default:
		if s := n.Words(); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// risk spells the levels that clients know as they know them.
func risk(s string) string {
	for _, level := range [...]string{"High", "Medium", "Low"} {
		if strings.EqualFold(s, level) {
			return level
		}
	}
	return s
}

// confidence is a number from 0 to 1. Numbers over 1 are taken for per cent;
// what is no number says nothing.
func confidence(n *repair.Value) string {
	if n == nil || n.Kind != repair.Number && n.Kind != repair.Text {
		return defaultConfidence
	}
	s, percent := strings.CutSuffix(strings.TrimSpace(n.Text), "%")
	s = strings.TrimSpace(s)
	v, err := strconv.ParseFloat(s, 64)
	switch {
	case err != nil || !(v >= 0) || v > 100:
		return defaultConfidence
	case percent || v > 1:
		return strconv.FormatFloat(v/100, 'f', -1, 64)
	case json.Valid([]byte(s)):
		return s
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
