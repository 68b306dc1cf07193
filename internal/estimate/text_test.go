package estimate

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tiktoken-go/tokenizer"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// The texts below are made up, but of the same cut as what users send.

var (
	nouns = strings.Fields(`report patient engine harbor contract committee river storage budget teacher journey library winter market
		question village method researcher laboratory government particle orchestra afternoon mountain algorithm customer invoice
		kitchen deadline umbrella reservoir neighborhood measurement hypothesis conversation architecture`)
	verbs = strings.Fields(`describes improves delays contradicts follows replaces measures questions supports interrupts explains
		summarizes rejects anticipates illuminates outlasts`)
	adjectives = strings.Fields(`careful early unusual quiet expensive reliable northern ambitious incomplete enormous transparent
		seasonal thoughtful ordinary controversial`)
	joins = []string{", and ", ", although ", "; however, ", ", because ", " while ", ". In addition, ", ". "}

	hanzi = strings.Fields(`系统 用户 请求 模型 数据 分析 结果 时间 服务 网络 学习 研究 方法 问题 公司 市场 经济 发展 技术 城市 文化 教育
		健康 环境 政府 国际 合作 项目 计划 质量 管理 信息 安全 产品 设计 生活 历史 科学 工程 语言`)
	particles = strings.Fields(`的 是 在 和 了 对 与 以及 通过 提高 需要 可以 进行 影响 包括 根据 我们 他们 这个 如果`)
)

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func prose(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "The %s %s %s the %s", pick(r, adjectives), pick(r, nouns), pick(r, verbs), pick(r, nouns))
		b.WriteString(pick(r, joins))
		fmt.Fprintf(&b, "%s's %s %s %s. ", pick(r, []string{"Maria", "the city", "our client", "Mr. Okafor"}), pick(r, nouns), pick(r, verbs), pick(r, adjectives)+" "+pick(r, nouns)+"s")
	}
	return b.String()[:n]
}

func chinese(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		for range 4 + r.IntN(6) {
			b.WriteString(pick(r, hanzi))
			b.WriteString(pick(r, particles))
		}
		b.WriteString(pick(r, []string{"。", "，", "；"}))
	}
	return strings.ToValidUTF8(b.String()[:n], "")
}

func object(r *rand.Rand, depth int) any {
	m := map[string]any{}
	for range 3 + r.IntN(4) {
		name := pick(r, nouns) + "_" + pick(r, []string{"id", "name", "count", "at", "ratio"})
		switch k := r.IntN(6); {
		case k == 0 && depth > 0:
			m[name] = object(r, depth-1)
		case k == 1:
			m[name] = []int{r.IntN(10), r.IntN(1000), r.IntN(100000)}
		case k == 2:
			m[name] = r.Float64()
		case k == 3:
			m[name] = r.IntN(2) == 0
		default:
			m[name] = pick(r, adjectives) + " " + pick(r, nouns)
		}
	}
	return m
}

func jsonText(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		one, err := json.Marshal(object(r, 2))
		if err != nil {
			panic(err)
		}
		b.Write(one)
		b.WriteByte('\n')
	}
	return b.String()[:n]
}

func base64Text(r *rand.Rand, n int) string {
	raw := make([]byte, n)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	return base64.StdEncoding.EncodeToString(raw)[:n]
}

func table64(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%d,%.3f,%d,%.2f\n", r.IntN(100000), r.Float64()*100, r.IntN(10), r.NormFloat64())
	}
	return b.String()[:n]
}

// source returns pieces of this package's own files.
func source(t *testing.T) func(*rand.Rand, int) string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source: %v", err)
	}
	var b strings.Builder
	for _, f := range files {
		if f == "text_test.go" || f == "doc.go" { // Chinese and prose
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	all := b.String()
	return func(r *rand.Rand, n int) string {
		n = min(n, len(all)-1)
		at := r.IntN(len(all) - n)
		return strings.ToValidUTF8(all[at:at+n], "")
	}
}

type textCase struct {
	name string
	kind ContentKind
	make func(*rand.Rand, int) string
}

func texts(t *testing.T) []textCase {
	return []textCase{
		{"prose", Prose, prose},
		{"go", Code, source(t)},
		{"json", Code, jsonText},
		{"chinese", CJK, chinese},
		{"base64", Dense, base64Text},
		{"numbers", Dense, table64},
	}
}

func TestKind(t *testing.T) {
	for _, c := range texts(t) {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(7, 8))
			wrong := 0
			for range 200 {
				if Kind([]byte(c.make(r, 800+r.IntN(4000)))) != c.kind {
					wrong++
				}
			}
			if wrong > 30 { // comments are prose
				t.Errorf("%d of 200 texts are not recognized", wrong)
			}
		})
	}
	for text, want := range map[string]ContentKind{
		"":               Prose,
		"Hello, world!":  Prose,
		"你好，世界":          CJK,
		"Привет, мир":    CJK,
		`{"a":[1,2,{}]}`: Code,
		"Please summarize this https://example.com/a/rather/long/address/that/has/no/spaces/in/it for me, and be brief about it.": Prose,
	} {
		if got := Kind([]byte(text)); got != want {
			t.Errorf("Kind(%q) = %v, want %v", text, got, want)
		}
	}
}

// sample is one request of a text: what is measured of it, and the tokens a
// real tokenizer counts, with the few that frame each message.
func sample(t *testing.T, codec tokenizer.Codec, r *rand.Rand, c textCase) (llm.Size, int64) {
	t.Helper()
	n := int(min(max(1000*math.Exp(0.7*r.NormFloat64()), 200), 4000))
	text := c.make(r, n)
	tokens, err := codec.Count(text)
	if err != nil {
		t.Fatal(err)
	}
	messages := 1 + r.Int64N(4)
	return llm.Size{TextBytes: int64(len(text)), Messages: messages}, int64(tokens) + 4*messages + 3
}

func TestI3AgainstTokenizer(t *testing.T) {
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range texts(t) {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(11, 12))
			e := New(Options{})
			key := Key{Model: "m", Class: flow.Chat, Kind: c.kind}
			var predicted, actual, prior int64
			within, before := 0, 0
			const learned, tested = 50, 150
			for i := range learned + tested {
				size, tokens := sample(t, codec, r, c)
				p := e.Predict(key, size)
				if i >= learned {
					predicted += p.InputMean
					actual += tokens
					if tokens <= p.Input {
						within++
					}
				}
				if tokens <= New(Options{}).Predict(key, size).Input {
					before++
				}
				prior += tokens
				e.Learn(key, size, llm.Usage{Input: tokens, Output: 1}, time.Second)
			}
			share, bias := float64(within)/tested, float64(predicted)/float64(actual)-1
			t.Logf("coverage %.1f %%, bias of the mean %+.1f %%; the prior alone covers %.0f %%", 100*share, 100*bias, 100*float64(before)/(learned+tested))
			if share < 0.85 {
				t.Errorf("reserve covers %.1f %%, want at least 85 %%", 100*share)
			}
			if math.Abs(bias) > 0.10 {
				t.Errorf("mean is off by %+.1f %%, want at most 10 %%", 100*bias)
			}
			if before < (learned+tested)*8/10 {
				t.Errorf("prior covers %d of %d: it should err to the safe side", before, learned+tested)
			}
		})
	}
}

func FuzzKind(f *testing.F) {
	for _, s := range []string{"", "plain words", "\xff\xfe", `{"a":1}`, "你好", strings.Repeat("A", 5000)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if k := Kind(b); k >= kinds {
			t.Errorf("Kind = %d", k)
		}
	})
}

func BenchmarkKind(b *testing.B) {
	text := []byte(prose(rand.New(rand.NewPCG(1, 1)), 4096))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		Kind(text)
	}
}
