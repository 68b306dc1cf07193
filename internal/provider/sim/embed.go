package sim

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"
)

// vector is the embedding of a text: a random direction of length 1 that
// depends on the seed and the text alone.
func vector(seed, hash uint64, size int64) []float32 {
	rng := rand.New(rand.NewPCG(seed, hash))
	v, sum := make([]float64, size), 0.0
	for i := range v {
		v[i] = rng.NormFloat64()
		sum += v[i] * v[i]
	}
	out, length := make([]float32, size), math.Sqrt(sum)
	for i := range v {
		out[i] = float32(v[i] / length)
	}
	return out
}

func appendFloats(dst []byte, v []float32) []byte {
	dst = append(dst, '[')
	for i, x := range v {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendFloat(dst, float64(x), 'g', -1, 32)
	}
	return append(dst, ']')
}

// appendBase64 is the form the official clients ask for: little-endian floats.
func appendBase64(dst []byte, v []float32) []byte {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, raw)
	return append(dst, '"')
}

func (p *Provider) appendEmbeddings(dst []byte, r *request, prompt int64) []byte {
	size := r.dimensions
	if size == 0 {
		size = int64(p.options.Dimensions)
	}
	dst = append(dst, `{"object":"list","data":[`...)
	for i, in := range r.inputs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"object":"embedding","index":`...)
		dst = strconv.AppendInt(dst, int64(i), 10)
		dst = append(dst, `,"embedding":`...)
		v := vector(p.options.Seed, in.hash, size)
		if r.base64 {
			dst = appendBase64(dst, v)
		} else {
			dst = appendFloats(dst, v)
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `],"model":`...)
	dst = appendQuoted(dst, r.model)
	dst = append(dst, `,"usage":{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, prompt, 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, prompt, 10)
	return append(dst, "}}"...)
}
