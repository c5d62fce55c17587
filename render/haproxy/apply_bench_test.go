package haproxy

import (
	"log/slog"
	"testing"

	"drawbridge.dev/drawbridge/render/model"
)

// BenchmarkApplyTo50k brings a running HAProxy with 50,000 hosts to one host more, or to another address of one.
func BenchmarkApplyTo50k(b *testing.B) {
	r := run(b, func(o *ProxyOptions) { o.Log = slog.New(slog.DiscardHandler) })
	m := large(50_000)
	s, _ := Render(m, nil)
	if _, err := r.Apply(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	one := host("one-more.test", prefix("/", m.Hosts[1].Routes[0].Upstream))
	b.Run("add", func(b *testing.B) {
		for b.Loop() {
			more, _ := s.Update([]model.Host{one}, nil, nil)
			if _, err := r.Apply(b.Context(), more); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if _, err := r.Apply(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
	other := host("h00001.example.test", prefix("/", m.Hosts[2].Routes[0].Upstream))
	b.Run("change", func(b *testing.B) {
		for b.Loop() {
			changed, _ := s.Update([]model.Host{other}, nil, nil)
			if _, err := r.Apply(b.Context(), changed); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if _, err := r.Apply(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}
