package transfer

import "testing"

func BenchmarkAssemble(b *testing.B) {
	w := newWorld(b)
	old := image(10, 64<<20)
	raw := edited(10, old, 20)
	a := w.artifact(raw)
	known := *a
	w.addDelta(&known, old, raw)
	for name, make := range map[string]func() *Job{
		"nothing": func() *Job { return w.job(a) },
		"seed":    func() *Job { return w.job(a, seed(old)) },
		"delta":   func() *Job { return w.job(&known, seed(old)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			var s *Sources
			for b.Loop() {
				var err error
				s, err = make().Assemble(b.Context(), w.part())
				check(b, err)
			}
			b.ReportMetric(float64(s.Moved), "moved-bytes")
			b.ReportMetric(float64(s.Requests), "requests")
		})
	}
}
