package intent

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Voice is one annotation that says something of a wish.
type Voice struct {
	Value      string
	Annotation string
	On         Place
}

// Voices lists every annotation that is understood to say a wish of one backend, as ReadBackend reads them: the first
// decides, the others may contradict it. An annotation speaks once, however many keys read it.
func (d *Dialect) Voices(wish Wish, annotations map[string]string, svc *corev1.Service, port networkingv1.ServiceBackendPort) []Voice {
	if len(annotations) == 0 && (svc == nil || len(svc.Annotations) == 0) {
		return nil
	}
	s := &source{ingress: annotations, service: svc, port: port}
	var list []Voice
	for _, keys := range [...][]Key{ownKeys, d.Keys} {
		for i := range keys {
			if keys[i].Wish != wish {
				continue
			}
			if _, set := s.text(&keys[i]); !set {
				continue
			}
			var w Wishes
			w.read(d, &keys[i], s)
			v := Voice(w.values[wish])
			if v.Value != "" && !slices.ContainsFunc(list, func(had Voice) bool { return had.Annotation == v.Annotation && had.On == v.On }) {
				list = append(list, v)
			}
		}
	}
	return list
}
