package manifest

import (
	"bytes"
	"fmt"
	"testing"
)

// manyIngresses is a file of n legacy Ingresses, each with its Service.
func manyIngresses(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `apiVersion: v1
kind: Service
metadata:
  name: s%d
spec:
  type: ExternalName
  externalName: h%d.example.com
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: i%d
spec:
  rules:
  - host: a%d.example.com
    http:
      paths:
      - backend:
          serviceName: s%d
          servicePort: 80
---
`, i, i, i, i, i)
	}
	return b.Bytes()
}

func BenchmarkRead(b *testing.B) {
	text := manyIngresses(1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if f := Read("in", text, Options{}); len(f.Objects) != 2000 {
			b.Fatal(len(f.Objects))
		}
	}
}

func BenchmarkMend(b *testing.B) {
	text := manyIngresses(1000)
	b.SetBytes(int64(len(text)))
	f := Read("in", text, Options{})
	for b.Loop() {
		if _, errs := f.Mend(nil); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
